"""Commit 5ec8e8ea8b77 ("mm/sparsemem: fix race in accessing memory_section->usage") (in v6.8)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "5ec8e8ea8b77",
    "mm/sparsemem: fix race in accessing memory_section->usage",
    since=(6, 8),
    breaks=("nobody_reads_what_was_freed",),
    races=("memory_failure_dev_pagemap", "memunmap_pages"),
)
def free_usage_at_once(rules: KernelRules) -> KernelRules:
    """The usage map is freed at once, and pfn_valid() is no reader of RCU."""
    return replace(rules, usage_freed_by_rcu=False)
