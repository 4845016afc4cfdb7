"""mm/usercopy.c: objects that user space may copy."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.page_state import Decision, PageState
from hotplug_model.users.user import Form, everything, is_zone_device_page, user
from hotplug_model.walkers.walker import page_reserved


def reserved_or_device(x: Extents) -> ExtentMask:
    """Reserved, or ZONE_DEVICE.

    Source: "[PATCH RFC v1 02/12] mm/usercopy.c: Prepare check_page_span() for PG_reserved
    changes", linux-kernel, October 2019.
    """
    return page_reserved(x) | is_zone_device_page(x)


@user(
    "mm/usercopy.c", decides=Decision.COPIED,
    reach=(
        PageState.ONLINE, PageState.BOOT_RESERVED, PageState.FS_DAX, PageState.GENERIC,
        PageState.PCI_P2PDMA,
    ),
    why="The object has a kernel virtual address, and is no slab object.",
    thread="patch 2", rule="check_page_span", reads=everything,
    forms={"not_device": Form(says=reserved_or_device, reads=everything)},
)  # fmt: skip
def check_page_span(x: Extents) -> ExtentMask:
    """Lets an object span pages that were not allocated as one if these are reserved.

    # Simplified: no CMA, which is let through as well.

    Source: check_page_span(), until commit 1109a5d90701 ("usercopy: Remove
    HARDENED_USERCOPY_PAGESPAN") (in v5.18).
    """
    return page_reserved(x)
