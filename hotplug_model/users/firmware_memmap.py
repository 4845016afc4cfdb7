"""drivers/firmware/memmap.c: /sys/firmware/memmap."""

from __future__ import annotations

from hotplug_model.page_state import Decision
from hotplug_model.users.user import ALLOCATED, everything, user
from hotplug_model.walkers.walker import page_reserved

user(
    "drivers/firmware/memmap.c", name="release_firmware_map_entry", decides=Decision.BOOTMEM,
    reach=ALLOCATED, why="It frees its own entry, from kzalloc() or from memblock.",
    thread="should be fine: really only a check for bootmem", reads=everything,
)(page_reserved)  # fmt: skip
