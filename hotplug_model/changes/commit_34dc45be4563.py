"""Commit 34dc45be4563 ("mm: fix memory_failure() handling of dax-namespace metadata") (in v5.12)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "34dc45be4563",
    "mm: fix memory_failure() handling of dax-namespace metadata",
    since=(5, 12),
    breaks=("walkers_use_no_poisoned_page",),
    races=("memory_failure_dev_pagemap", "memremap_pages"),
)
def any_pfn_of_a_map_is_data(rules: KernelRules) -> KernelRules:
    """memory_failure() uses the page of whatever pfn has a map.

    Of an altmap, too, and of a range that pagemap_range() has stored and not initialised yet.
    """
    return replace(rules, memory_failure_asks_for_data=False)
