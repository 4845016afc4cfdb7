"""Commit 01c8d337d195 ("mm/sparse: set SECTION_NID_SHIFT to 6") (in v5.15)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "01c8d337d195",
    "mm/sparse: set SECTION_NID_SHIFT to 6",
    since=(5, 15),
    breaks=("tainted_sections_met_a_device",),
    boots=("node-two",),
)
def keep_the_node_among_flags(rules: KernelRules) -> KernelRules:
    """Until boot has a memmap for it, a section keeps its node in bits that are flags."""
    return replace(rules, section_nid_shift=3)
