"""Commit 82f0b6f041fa ("mm: prevent derefencing NULL ptr in pfn_section_valid()") (in v6.10)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "82f0b6f041fa",
    "mm: prevent derefencing NULL ptr in pfn_section_valid()",
    since=(6, 10),
    breaks=("nobody_follows_a_null_pointer",),
    races=("memory_failure_dev_pagemap", "memunmap_pages"),
)
def follow_null(rules: KernelRules) -> KernelRules:
    """pfn_section_valid() follows the pointer to a usage map that is gone."""
    return replace(rules, pfn_section_valid_checks_usage=False)
