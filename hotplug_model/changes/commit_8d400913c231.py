"""Commit 8d400913c231 ("x86/vmemmap: handle unpopulated sub-pmd ranges") (in v5.13)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "8d400913c231",
    "x86/vmemmap: handle unpopulated sub-pmd ranges",
    since=(5, 13),
    breaks=(
        "unused_vmemmap_is_freed",
    ),
    geometry="tiny_56",
    needs=("280abe14b6e0",),
)
def never_marked(rules: KernelRules) -> KernelRules:
    """What was never populated of a huge page of vmemmap is not marked as unused."""
    return replace(rules, vmemmap_marks_unpopulated="never")
