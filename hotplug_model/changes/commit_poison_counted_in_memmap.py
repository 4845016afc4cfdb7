"""The other half of commit 5033091de814 ("mm/hwpoison: introduce per-memory_block hwpoison
counter") (in v6.2): it takes two changes to undo, for each shows something of its own."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "poison-counted-in-memmap",
    "mm/hwpoison: introduce per-memory_block hwpoison counter",
    since=(6, 2),
    breaks=("num_poisoned_pages_add_up",),
)
def ask_the_memmap(rules: KernelRules) -> KernelRules:
    """How many pages of removed memory were broken is asked of its memmap, overwritten or not."""
    return replace(rules, blocks_take_off_broken_pages=False)
