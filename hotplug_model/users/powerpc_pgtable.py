"""arch/powerpc/mm/pgtable.c: filters that keep the instruction cache coherent."""

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
    "arch/powerpc/mm/pgtable.c", decides=Decision.FLUSHED, reach=MAPPED_ON_POWERPC,
    why=DEV_MEM, thread="patch 10", rule="maybe_pte_to_page", forms={"online": ASKS_ONLINE},
)  # fmt: skip
def maybe_pte_to_page(x: Extents) -> ExtentMask:
    """Finds the struct page whose PG_arch_1 says that the page was flushed, unless reserved.

    Source: maybe_pte_to_page().
    """
    return valid_and_unreserved(x)
