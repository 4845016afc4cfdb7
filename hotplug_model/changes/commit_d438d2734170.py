"""Commit d438d2734170 ("mm: remove devmap related functions and page table bits") (in v6.17)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "d438d2734170",
    "mm: remove devmap related functions and page table bits",
    since=(6, 17),
    geometry="tiny_s390",
)
def not_on_s390(rules: KernelRules) -> KernelRules:
    """On s390 memremap_pages() is -ENXIO: it lacks a bit in its page tables for ZONE_DEVICE."""
    return replace(rules, s390_has_zone_device=False)
