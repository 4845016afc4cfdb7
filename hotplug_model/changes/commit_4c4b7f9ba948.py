"""Commit 4c4b7f9ba948 ("mm/memory_hotplug: remove memory block devices before arch_remove_memory()") (in v5.3)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "4c4b7f9ba948",
    "mm/memory_hotplug: remove memory block devices before arch_remove_memory()",
    since=(5, 3),
    breaks=("memory_blocks_stand_for_sections",),
)
def blocks_go_last(rules: KernelRules) -> KernelRules:
    """A memory block device goes with the last of its sections."""
    return replace(rules, blocks_removed_first=False)
