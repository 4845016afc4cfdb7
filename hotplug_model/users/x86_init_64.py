"""arch/x86/mm/init_64.c: the memory that vmemmap and page tables give back."""

from __future__ import annotations

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import MemoryType
from hotplug_model.page_state import Decision, PageState
from hotplug_model.users.user import ALLOCATED, everything, user
from hotplug_model.walkers.walker import page_reserved


def not_in_an_altmap_that_is_passed(x: Extents) -> ExtentMask:
    """All but the altmaps of maps that memunmap_pages() passes when it removes pages."""
    private = MemoryType.MEMORY_DEVICE_PRIVATE
    passed = [i for i, pgmap in x.kernel.pgmaps.items() if pgmap.type != private]
    rows: ExtentMask = ~np.isin(x.pgmap_array, passed)
    return rows


user(
    "arch/x86/mm/init_64.c", name="free_pagetable", decides=Decision.BOOTMEM,
    reach={*ALLOCATED, PageState.ALTMAP_FREE},
    why="It frees pages that hold struct pages or page tables; those of an altmap go before, "
    "unless device-private memory is removed, which happens without the altmap.",
    thread="should be fine: only a check for bootmem", reads=everything,
    visits=not_in_an_altmap_that_is_passed,
)(page_reserved)  # fmt: skip
