"""Commit feee6b298916 ("mm/memory_hotplug: shrink zones when offlining memory") (in v5.5)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "feee6b298916",
    "mm/memory_hotplug: shrink zones when offlining memory",
    since=(5, 5),
    breaks=("zone_spans_shrink",),
)
def shrink_at_removal(rules: KernelRules) -> KernelRules:
    """A zone keeps offline memory in its span until it is removed."""
    return replace(rules, remove_pfn_range_from_zone_at_offline=False)
