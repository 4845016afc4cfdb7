"""drivers/vfio/vfio_iommu_type1.c: pages that a device of a guest may reach."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.page_state import Decision, PageState
from hotplug_model.users.user import (
    ASKS_ONLINE,
    DEV_MEM,
    MAPPED_BY_ANYBODY,
    user,
    valid_and_unreserved,
)

FILE = "drivers/vfio/vfio_iommu_type1.c"
PINNED = frozenset({PageState.ONLINE, PageState.GENERIC})
WHY = DEV_MEM + (
    " What get_user_pages() does not pin, vaddr_get_pfn() refuses with -EFAULT unless it is "
    "reserved; a long-term pin is refused on fs-dax and moves device-coherent memory."
)


@user(
    FILE, name="is_invalid_reserved_pfn", decides=Decision.REFCOUNTED, reach=MAPPED_BY_ANYBODY,
    harmless=MAPPED_BY_ANYBODY - PINNED, why=WHY, thread="patch 5",
    rule="is_invalid_reserved_pfn", forms={"online": ASKS_ONLINE},
)  # fmt: skip
def put_pfn(x: Extents) -> ExtentMask:
    """Drops its pin on a page unless the pfn is invalid or reserved.

    # Simplified: no compound pages, of which the head was asked before v5.6.

    Source: put_pfn(), is_invalid_reserved_pfn().
    """
    return valid_and_unreserved(x)


@user(
    FILE, name="is_invalid_reserved_pfn", decides=Decision.DIRTIED, reach=MAPPED_BY_ANYBODY,
    harmless=MAPPED_BY_ANYBODY - PINNED, why=WHY, thread="patch 5",
    rule="is_invalid_reserved_pfn", forms={"online": ASKS_ONLINE},
)  # fmt: skip
def put_dirty_pfn(x: Extents) -> ExtentMask:
    """Sets PG_dirty on a page that the device may have written, when it drops its pin.

    Source: put_pfn() with IOMMU_WRITE.
    """
    return valid_and_unreserved(x)
