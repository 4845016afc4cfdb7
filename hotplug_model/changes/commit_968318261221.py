"""Commit 968318261221 ("mm/memory_hotplug: drain per-cpu pages again during memory
offline") (in v5.9)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "968318261221",
    "mm/memory_hotplug: drain per-cpu pages again during memory offline",
    since=(5, 9),
    breaks=("offlining_finds_what_is_free",),
    races=("unpin_pages", "offline_memory_block"),
)
def drain_once(rules: KernelRules) -> KernelRules:
    """Lists of free pages of each CPU are emptied once, when a range is isolated."""
    return replace(rules, offlining_drains_again=False)
