"""Commit cd681403a870 ("mm/mm_init: fix uninitialized struct pages for ZONE_DEVICE") (in v7.2)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "cd681403a870",
    "mm/mm_init: fix uninitialized struct pages for ZONE_DEVICE",
    since=(7, 2),
    breaks=(
        "populated_device_pages_are_initialised",
    ),
    geometry="small",
)
def tails_of_early_sections(rules: KernelRules) -> KernelRules:
    """In an early section only the first struct pages of a compound page are initialised."""
    return replace(rules, dedup_initialises_early_sections=False)
