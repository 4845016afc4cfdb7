"""Commit 27674ef6c73f ("mm: remove the extra ZONE_DEVICE struct page refcount") (in v5.18)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.flags import MemoryType
from hotplug_model.rules import KernelRules


@undoing(
    "27674ef6c73f",
    "mm: remove the extra ZONE_DEVICE struct page refcount",
    since=(5, 18),
)
def last_put_lets_go(rules: KernelRules) -> KernelRules:
    """A device page keeps its map until somebody drops the last reference on the page.

    What is left of that, for the driver of private memory, is for files on pmem only.
    """
    return replace(
        rules,
        device_page_keeps_its_map="while_held",
        devmap_managed=rules.devmap_managed | {MemoryType.MEMORY_DEVICE_PRIVATE},
    )
