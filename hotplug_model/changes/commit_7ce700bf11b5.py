"""Commit 7ce700bf11b5 ("mm/memory_hotplug: don't access uninitialized memmaps in shrink_zone_span()") (in v5.4)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "7ce700bf11b5",
    "mm/memory_hotplug: don't access uninitialized memmaps in shrink_zone_span()",
    since=(5, 4),
)
def shrink_trusts_pfn_valid(rules: KernelRules) -> KernelRules:
    """The search for a zone's new edge looks at any valid struct page."""
    return replace(rules, shrink_asks_online=False)
