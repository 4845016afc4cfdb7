"""Commit db051a0dac13 ("mm/memory_hotplug: create memory block devices after arch_add_memory()") (in v5.3)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "db051a0dac13",
    "mm/memory_hotplug: create memory block devices after arch_add_memory()",
    since=(5, 3),
    breaks=("memory_blocks_stand_for_sections",),
)
def blocks_with_sections(rules: KernelRules) -> KernelRules:
    """A memory block device comes with the first of its sections."""
    return replace(rules, sections_bring_blocks=True)
