"""arch/powerpc/kvm/book3s_64_mmu_radix.c: faults of a guest on a radix MMU."""

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

FILE = "arch/powerpc/kvm/book3s_64_mmu_radix.c"
NAME = "kvmppc_book3s_instantiate_page"


@user(
    FILE, name=NAME, decides=Decision.REFCOUNTED, reach=MAPPED_ON_POWERPC, why=DEV_MEM,
    thread="patch 8", rule=NAME, forms={"online": ASKS_ONLINE},
)  # fmt: skip
def put_instantiated_page(x: Extents) -> ExtentMask:
    """Drops the reference of the slow path unless the pfn is invalid or reserved.

    Source: kvmppc_book3s_instantiate_page().
    """
    return valid_and_unreserved(x)


@user(
    FILE, name=NAME, decides=Decision.DIRTIED, reach=MAPPED_ON_POWERPC, why=DEV_MEM,
    thread="patch 8", rule=NAME, forms={"online": ASKS_ONLINE},
)  # fmt: skip
def dirty_instantiated_page(x: Extents) -> ExtentMask:
    """Sets PG_dirty if the guest may write and the pfn is neither invalid nor reserved.

    Source: kvmppc_book3s_instantiate_page().
    """
    return valid_and_unreserved(x)
