"""Commit c1a6c536fb08 ("mm/vmemmap: improve vmemmap_can_optimize and allow architectures to override") (in v6.6)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "c1a6c536fb08",
    "mm/vmemmap: improve vmemmap_can_optimize and allow architectures to override",
    since=(6, 6),
    breaks=(
        "unused_vmemmap_is_freed",
    ),
)
def too_small_to_deduplicate(rules: KernelRules) -> KernelRules:
    """Compound pages with one or two vmemmap pages are deduplicated as well."""
    return replace(rules, vmemmap_dedup_needs_an_alias=False)
