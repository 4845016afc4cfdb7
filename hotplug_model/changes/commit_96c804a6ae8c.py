"""Commit 96c804a6ae8c ("mm/memory-failure.c: don't access uninitialized memmaps in memory_failure()") (in v5.4)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "96c804a6ae8c",
    "mm/memory-failure.c: don't access uninitialized memmaps in memory_failure()",
    since=(5, 4),
    breaks=("walkers_read_no_poisoned_page",),
)
def memory_failure_takes_any_page(rules: KernelRules) -> KernelRules:
    """memory_failure() takes any valid pfn that is no device memory."""
    return replace(rules, asks_pfn_valid=rules.asks_pfn_valid | {"memory_failure"})
