"""Commit c5e79ef561b0 ("mm/memory_hotplug.c: don't allow to online/offline memory blocks with holes") (in v5.5)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "c5e79ef561b0",
    "mm/memory_hotplug.c: don't allow to online/offline memory blocks with holes",
    since=(5, 5),
    breaks=("walkers_read_no_poisoned_page",),
    boots=("collision",),
)
def allow_holes(rules: KernelRules) -> KernelRules:
    """Memory blocks with holes can be offlined."""
    return replace(rules, offline_rejects_holes=False)
