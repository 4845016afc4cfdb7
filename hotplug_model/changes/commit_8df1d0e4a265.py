"""Commit 8df1d0e4a265 ("mm/memory_hotplug: make add_memory() take the device_hotplug_lock") (in v4.20)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "8df1d0e4a265",
    "mm/memory_hotplug: make add_memory() take the device_hotplug_lock",
    since=(4, 20),
    breaks=("nobody_waits_for_ever",),
    races=("add_memory", "online_memory_block"),
)
def add_without_device_hotplug_lock(rules: KernelRules) -> KernelRules:
    """A block can be onlined while the add that creates it is under way."""
    return replace(rules, add_memory_takes_device_hotplug_lock=False)
