"""Commit aad5f69bc161 ("fs/proc/page.c: don't access uninitialized memmaps in fs/proc/page.c") (in v5.4)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "aad5f69bc161",
    "fs/proc/page.c: don't access uninitialized memmaps in fs/proc/page.c",
    since=(5, 4),
    breaks=("walkers_read_no_poisoned_page",),
)
def kpage_files_read_any_page(rules: KernelRules) -> KernelRules:
    """/proc/kpagecount, kpageflags and kpagecgroup read any valid page."""
    readers = {"kpagecgroup_read", "kpagecount_read", "kpageflags_read"}
    return replace(rules, asks_pfn_valid=rules.asks_pfn_valid | readers)
