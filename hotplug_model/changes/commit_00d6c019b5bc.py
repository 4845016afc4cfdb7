"""Commit 00d6c019b5bc ("mm/memory_hotplug: don't access uninitialized memmaps in shrink_pgdat_span()") (in v5.4)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "00d6c019b5bc",
    "mm/memory_hotplug: don't access uninitialized memmaps in shrink_pgdat_span()",
    since=(5, 4),
    breaks=("walkers_read_no_poisoned_page",),
)
def node_edge_trusts_pfn_valid(rules: KernelRules) -> KernelRules:
    """The search for a node's new edge looks at any valid struct page."""
    return replace(rules, asks_pfn_valid=rules.asks_pfn_valid | {"shrink_pgdat_span"})
