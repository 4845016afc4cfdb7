"""Commit f1dd2cd13c4b ("mm, memory_hotplug: do not associate hotadded memory to zones until online") (in v4.13)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "f1dd2cd13c4b",
    "mm, memory_hotplug: do not associate hotadded memory to zones until online",
    since=(4, 13),
    breaks=("zone_spans_shrink",),
    needs=("shrink-asks-online", "feee6b298916"),
)
def zones_at_add(rules: KernelRules) -> KernelRules:
    """Memory is in the zone that its architecture chooses as soon as it is added."""
    return replace(rules, zones_at_add=True)
