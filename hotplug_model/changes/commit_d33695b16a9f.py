"""Commit d33695b16a9f ("mm/memory_hotplug: poison memmap in remove_pfn_range_from_zone()") (in v5.6)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "d33695b16a9f",
    "mm/memory_hotplug: poison memmap in remove_pfn_range_from_zone()",
    since=(5, 6),
)
def leave_the_memmap(rules: KernelRules) -> KernelRules:
    """Struct pages that leave their zone are not poisoned."""
    return replace(rules, page_init_poison_at_removal=False)
