"""Commit 5033091de814 ("mm/hwpoison: introduce per-memory_block hwpoison counter") (in v6.2)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "5033091de814",
    "mm/hwpoison: introduce per-memory_block hwpoison counter",
    since=(6, 2),
    breaks=("broken_pages_do_not_come_back",),
)
def forget_what_broke(rules: KernelRules) -> KernelRules:
    """A block goes online again whatever broke in it, and its new struct pages know nothing."""
    return replace(rules, online_rejects_broken_pages=False)
