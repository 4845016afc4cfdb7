"""Commit 1f503443e7df ("mm/sparse.c: reset section's mem_map when fully deactivated") (in v5.6)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "1f503443e7df",
    "mm/sparse.c: reset section's mem_map when fully deactivated",
    since=(5, 6),
    breaks=("section_mem_map_leads_to_the_memmap",),
)
def encode_null(rules: KernelRules) -> KernelRules:
    """A section that is empty encodes a memmap at address 0, which is no 0."""
    return replace(rules, section_mem_map_reset_to_0=False)
