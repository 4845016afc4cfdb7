"""Commit d613f53c83ec ("mm/memory-failure: fix VM_BUG_ON_PAGE(PagePoisoned(page)) when unpoison memory") (in v6.17)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "d613f53c83ec",
    "mm/memory-failure: fix VM_BUG_ON_PAGE(PagePoisoned(page)) when unpoison memory",
    since=(6, 17),
    breaks=("walkers_read_no_poisoned_page",),
)
def unpoisoning_takes_any_page(rules: KernelRules) -> KernelRules:
    """unpoison_memory() looks at the page of any valid pfn."""
    return replace(rules, asks_pfn_valid=rules.asks_pfn_valid | {"unpoison_memory"})
