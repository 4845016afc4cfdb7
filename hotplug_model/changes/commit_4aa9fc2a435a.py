"""Commit 4aa9fc2a435a ("Revert "mm, memory_hotplug: initialize struct pages for the full memory section"") (in v5.0)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "4aa9fc2a435a",
    'Revert "mm, memory_hotplug: initialize struct pages for the full memory section"',
    since=(5, 0),
    breaks=("memory_blocks_know_their_zone", "present_pages_add_up", "zone_spans_cover_their_pages"),
    boots=("shared-section",),
)
def initialise_whole_sections(rules: KernelRules) -> KernelRules:
    """Boot initialises struct pages up to the section's end, whoever has the memory there."""
    return replace(rules, memmap_init_to_section_end=True)
