"""fs/proc/task_mmu.c: /proc/PID/numa_maps."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.page_state import Decision
from hotplug_model.users.user import NORMAL, VM_NORMAL_PAGE, everything, unreserved, user

FILE = "fs/proc/task_mmu.c"


@user(
    FILE, decides=Decision.SHOWN, reach=NORMAL, why=VM_NORMAL_PAGE, reads=everything,
    thread="should be fine: vm_normal_page() checks against pte_devmap()",
)  # fmt: skip
def can_gather_numa_stats(x: Extents) -> ExtentMask:
    """Counts the normal pages of a process that are not reserved.

    Source: can_gather_numa_stats().
    """
    return unreserved(x)


@user(
    FILE, decides=Decision.SHOWN, reach=NORMAL, why=VM_NORMAL_PAGE, reads=everything,
    thread="should be fine: vm_normal_page_pmd() checks against pte_devmap()",
)  # fmt: skip
def can_gather_numa_stats_pmd(x: Extents) -> ExtentMask:
    """Counts huge pages of a process that are not reserved.

    Source: can_gather_numa_stats_pmd().
    """
    return unreserved(x)
