"""Commit 71389703839e ("mm, zone_device: Replace {get, put}_zone_device_page() with a single reference to fix pmem crash") (in v4.12)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "71389703839e",
    "mm, zone_device: Replace {get, put}_zone_device_page() with a single reference to fix pmem crash",
    since=(4, 12),
    breaks=("walkers_use_no_poisoned_page",),
    needs=("27674ef6c73f",),
    races=("pin_user_pages_fast", "memunmap_pages"),
)
def reference_per_look_up(rules: KernelRules) -> KernelRules:
    """get_page() of a device page took a reference on its map, and who pins pages skips that.

    # Simplified: the reference that put_page() then dropped without having been taken is
    not missed, since no look-up takes one for good.
    """
    return replace(rules, device_page_keeps_its_map="per_look_up")
