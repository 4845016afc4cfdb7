"""drivers/staging/gasket/gasket_page_table.c: pages that an accelerator reads and writes."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.page_state import Decision
from hotplug_model.users.user import GUP, NOT_DEVICE, PINNED, everything, unreserved, user


@user(
    "drivers/staging/gasket/gasket_page_table.c", decides=Decision.DIRTIED, reach=GUP,
    why=PINNED, thread="patch 6", rule="gasket_release_page", reads=everything,
    forms={"not_device": NOT_DEVICE},
)  # fmt: skip
def gasket_release_page(x: Extents) -> ExtentMask:
    """Sets PG_dirty on a page that is not reserved, then drops its reference.

    Source: gasket_release_page(), until commit 918ce05bbe52 ("staging: gasket: remove it
    from the kernel") (in v5.13).
    """
    return unreserved(x)
