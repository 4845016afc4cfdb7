"""Commit d4234d131b0a ("arm64: mm: Populate vmemmap at the page level if not section aligned") (in v6.14)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "d4234d131b0a",
    "arm64: mm: Populate vmemmap at the page level if not section aligned",
    since=(6, 14),
    breaks=(
        "valid_pfns_have_a_struct_page",
        "vmemmap_outlives_its_pfns",
    ),
    geometry="tiny_arm64",
)
def blocks_for_parts(rules: KernelRules) -> KernelRules:
    """A part of a section is mapped by a block that covers all of it, and goes with it."""
    return replace(rules, arm64_maps_parts_by_base_pages=False)
