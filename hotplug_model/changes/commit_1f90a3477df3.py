"""Commit 1f90a3477df3 ("mm: teach pfn_to_online_page() about ZONE_DEVICE section collisions") (in v5.12)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "1f90a3477df3",
    "mm: teach pfn_to_online_page() about ZONE_DEVICE section collisions",
    since=(5, 12),
    breaks=(
        "walkers_read_no_poisoned_page",
        "walkers_take_no_zone_device_page",
    ),
)
def section_granularity(rules: KernelRules) -> KernelRules:
    """A section that device memory shares is not tainted: all of it counts as online.

    Nor is there a flag that an early node's number could be taken for.
    """
    return replace(rules, section_taint_zone_device=False, section_nid_shift=6)
