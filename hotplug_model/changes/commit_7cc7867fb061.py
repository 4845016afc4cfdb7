"""Commit 7cc7867fb061 ("mm/devm_memremap_pages: enable sub-section remap") (in v5.3)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "7cc7867fb061",
    "mm/devm_memremap_pages: enable sub-section remap",
    since=(5, 3),
)
def whole_sections(rules: KernelRules) -> KernelRules:
    """Device memory comes in whole sections, and shares none with RAM or with another map."""
    return replace(rules, memremap_part_of_section="pads")
