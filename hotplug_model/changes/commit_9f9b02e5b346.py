"""Commit 9f9b02e5b346 ("mm: teach pfn_to_online_page() to consider subsection validity") (in v5.12)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "9f9b02e5b346",
    "mm: teach pfn_to_online_page() to consider subsection validity",
    since=(5, 12),
    breaks=("walkers_read_no_poisoned_page",),
)
def ignore_the_subsection(rules: KernelRules) -> KernelRules:
    """pfn_to_online_page() does not ask whether the subsection is populated."""
    return replace(rules, online_checks_subsection="never")
