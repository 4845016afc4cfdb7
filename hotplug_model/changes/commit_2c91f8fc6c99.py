"""Commit 2c91f8fc6c99 ("mm/memory_hotplug: fix try_offline_node()") (in v5.4)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "2c91f8fc6c99",
    "mm/memory_hotplug: fix try_offline_node()",
    since=(5, 4),
    breaks=("walkers_read_no_poisoned_page",),
)
def node_trusts_pfn_valid(rules: KernelRules) -> KernelRules:
    """Whether a node may go offline is read from the struct pages of any valid section."""
    return replace(rules, asks_pfn_valid=rules.asks_pfn_valid | {"try_offline_node"})
