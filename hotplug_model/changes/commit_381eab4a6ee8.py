"""Commit 381eab4a6ee8 ("mm/memory_hotplug: fix online/offline_pages called w.o. mem_hotplug_lock") (in v4.20)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "381eab4a6ee8",
    "mm/memory_hotplug: fix online/offline_pages called w.o. mem_hotplug_lock",
    since=(4, 20),
    breaks=("zones_change_under_mem_hotplug_lock",),
)
def online_unlocked(rules: KernelRules) -> KernelRules:
    """Onlining and offlining take device_hotplug_lock only."""
    return replace(rules, online_takes_mem_hotplug_lock=False)
