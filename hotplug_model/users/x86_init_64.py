"""arch/x86/mm/init_64.c: the memory that vmemmap and page tables give back."""

from __future__ import annotations

from hotplug_model.page_state import Decision, PageState
from hotplug_model.users.user import (
    ALLOCATED,
    everything,
    not_in_an_altmap_that_is_passed,
    user,
)
from hotplug_model.walkers.walker import page_reserved

user(
    "arch/x86/mm/init_64.c", name="free_pagetable", decides=Decision.BOOTMEM,
    reach={*ALLOCATED, PageState.ALTMAP_FREE},
    why="It frees pages that hold struct pages or page tables; those of an altmap go before, "
    "unless device-private memory is removed, which happens without the altmap.",
    thread="should be fine: only a check for bootmem", reads=everything,
    visits=not_in_an_altmap_that_is_passed,
)(page_reserved)  # fmt: skip
