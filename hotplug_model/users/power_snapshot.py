"""kernel/power/snapshot.c: what a hibernation image holds."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.page_state import Decision, PageState, system_ram
from hotplug_model.users.user import irrelevant, user
from hotplug_model.walkers import WALKERS
from hotplug_model.walkers.walker import page_reserved

FILE = "kernel/power/snapshot.c"
irrelevant(
    FILE, "It asks the same of high memory; the states are reached on x86-64, which has none.",
    "saveable_highmem_page",
)  # fmt: skip


@user(
    FILE, decides=Decision.SAVED, reach=PageState,
    why="It scans the spans of populated zones.",
    thread="should be fine: pfn_to_online_page() already guards it",
    reads=WALKERS["saveable_page"].reads, visits=WALKERS["saveable_page"].reads,
)  # fmt: skip
def saveable_page(x: Extents) -> ExtentMask:
    """Saves what is online and not PageOffline, but reserved pages only if they are RAM.

    # Simplified: all of RAM has a direct mapping, and just what firmware reserved is nosave.

    Source: saveable_page(), e820__register_nosave_regions().
    """
    return WALKERS["saveable_page"].takes(x) & (system_ram(x) | ~page_reserved(x))
