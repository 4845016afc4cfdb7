"""Commit a26ee565b6cd ("mm/page_owner: don't access uninitialized memmaps when reading /proc/pagetypeinfo") (in v5.4)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "a26ee565b6cd",
    "mm/page_owner: don't access uninitialized memmaps when reading /proc/pagetypeinfo",
    since=(5, 4),
    breaks=("walkers_read_no_poisoned_page",),
)
def page_owner_reads_any_page(rules: KernelRules) -> KernelRules:
    """/proc/pagetypeinfo reads the owners of any valid pageblock of a zone."""
    readers = {"pagetypeinfo_showmixedcount_print"}
    return replace(rules, asks_pfn_valid=rules.asks_pfn_valid | readers)
