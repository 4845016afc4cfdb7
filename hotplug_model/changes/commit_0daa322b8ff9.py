"""Commit 0daa322b8ff9 ("fs/proc/kcore: don't read offline sections, logically offline pages and hwpoisoned pages") (in v5.14)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "0daa322b8ff9",
    "fs/proc/kcore: don't read offline sections, logically offline pages and hwpoisoned pages",
    since=(5, 14),
    breaks=("memory_that_is_offline_is_not_read",),
    hides=True,
)
def kcore_reads_all(rules: KernelRules) -> KernelRules:
    """/proc/kcore copies all memory that is System RAM by the resource tree.

    Each release without it shows that as soon as memory is added.
    """
    return replace(rules, asks_pfn_valid=rules.asks_pfn_valid | {"kern_addr_valid"})
