"""Commit 280abe14b6e0 ("x86/mm: Fix marking of unused sub-pmd ranges") (in v5.18)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "280abe14b6e0",
    "x86/mm: Fix marking of unused sub-pmd ranges",
    since=(5, 18),
    breaks=(
        "unused_vmemmap_is_freed",
    ),
    geometry="tiny_56",
)
def marked_in_the_wrong_place(rules: KernelRules) -> KernelRules:
    """The marker for what lies in front is written over what is used."""
    return replace(rules, vmemmap_marks_unpopulated="misplaced")
