"""Commit ef69bc9f689d ("mm/sparse: never partially remove memmap for early section") (in v5.9)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "ef69bc9f689d",
    "mm/sparse: never partially remove memmap for early section",
    since=(5, 9),
    breaks=("valid_pfns_have_a_struct_page", "vmemmap_outlives_its_pfns"),
    geometry="tiny_arm64_64k",
)
def depopulate_early(rules: KernelRules) -> KernelRules:
    """A part of an early section that is removed loses its boot memmap."""
    return replace(rules, early_memmap_kept=False)
