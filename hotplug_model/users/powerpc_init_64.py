"""arch/powerpc/mm/init_64.c: the memory that vmemmap gives back."""

from __future__ import annotations

from hotplug_model.page_state import Decision
from hotplug_model.users.user import ALLOCATED, everything, user
from hotplug_model.walkers.walker import page_reserved

user(
    "arch/powerpc/mm/init_64.c", name="vmemmap_free", decides=Decision.BOOTMEM,
    reach=ALLOCATED, why="It frees pages that hold struct pages; those of an altmap go before.",
    thread="should be fine: special-cases memmap on altmap, only a check for bootmem",
    reads=everything,
)(page_reserved)  # fmt: skip
