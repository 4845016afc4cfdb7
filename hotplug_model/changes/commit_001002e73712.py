"""Commit 001002e73712 ("mm/memory_hotplug: add missing mem_hotplug_lock") (in v6.7)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "001002e73712",
    "mm/memory_hotplug: add missing mem_hotplug_lock",
    since=(6, 7),
    breaks=("zones_change_under_mem_hotplug_lock",),
)
def own_memmap_unlocked(rules: KernelRules) -> KernelRules:
    """A block's own memmap is set up and counted without mem_hotplug_lock."""
    return replace(rules, self_hosted_memmap_under_lock=False)
