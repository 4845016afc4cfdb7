"""arch/powerpc/mm/book3s64/hash_utils.c: hash faults on pages that are executed."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.page_state import Decision
from hotplug_model.users.user import (
    ASKS_ONLINE,
    DEV_MEM,
    MAPPED_ON_POWERPC,
    user,
    valid_and_unreserved,
)


@user(
    "arch/powerpc/mm/book3s64/hash_utils.c", decides=Decision.FLUSHED, reach=MAPPED_ON_POWERPC,
    why=DEV_MEM, thread="patch 9", rule="hash_page_do_lazy_icache",
    forms={"online": ASKS_ONLINE},
)  # fmt: skip
def hash_page_do_lazy_icache(x: Extents) -> ExtentMask:
    """Flushes a page that is executed first, and notes that in PG_arch_1, unless reserved.

    Source: hash_page_do_lazy_icache().
    """
    return valid_and_unreserved(x)
