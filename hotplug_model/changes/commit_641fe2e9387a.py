"""Commit 641fe2e9387a ("drivers/base/memory.c: don't access uninitialized memmaps in soft_offline_page_store()") (in v5.4)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "641fe2e9387a",
    "drivers/base/memory.c: don't access uninitialized memmaps in soft_offline_page_store()",
    since=(5, 4),
    breaks=("walkers_read_no_poisoned_page",),
)
def soft_offlining_takes_any_page(rules: KernelRules) -> KernelRules:
    """Soft offlining by sysfs takes any valid pfn."""
    return replace(rules, asks_pfn_valid=rules.asks_pfn_valid | {"soft_offline_page"})
