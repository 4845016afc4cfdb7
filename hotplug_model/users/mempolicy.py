"""mm/mempolicy.c: pages of a process that are to move to another node."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.page_state import Decision
from hotplug_model.users.user import NORMAL, VM_NORMAL_PAGE, everything, unreserved, user


@user(
    "mm/mempolicy.c", decides=Decision.MIGRATED, reach=NORMAL, why=VM_NORMAL_PAGE,
    thread="should be fine: vm_normal_page() checks against pte_devmap()", reads=everything,
)  # fmt: skip
def queue_pages_pte_range(x: Extents) -> ExtentMask:
    """Queues the normal pages of a process that are not reserved.

    Source: queue_pages_pte_range().
    """
    return unreserved(x)
