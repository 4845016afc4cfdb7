"""Commit 7cf209ba8a86 ("mm/memory_hotplug: use "unsigned long" for PFN in
zone_for_pfn_range()") (in v5.15)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "7cf209ba8a86",
    'mm/memory_hotplug: use "unsigned long" for PFN in zone_for_pfn_range()',
    since=(5, 15),
    breaks=("zones_keep_below_their_limits",),
)
def truncate_the_pfn(rules: KernelRules) -> KernelRules:
    """Memory goes online in the zone of the pfn that is left if its own is cut to an int."""
    return replace(rules, zone_for_pfn_range_truncates=True)
