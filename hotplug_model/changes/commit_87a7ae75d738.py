"""Commit 87a7ae75d738 ("mm/vmemmap/devdax: fix kernel crash when probing devdax devices") (in v6.4)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "87a7ae75d738",
    "mm/vmemmap/devdax: fix kernel crash when probing devdax devices",
    since=(6, 4),
    breaks=(
        "allocated_vmemmap_is_mapped",
        "valid_pfns_have_a_struct_page",
    ),
    geometry="tiny_powerpc",
)
def deduplicated_everywhere(rules: KernelRules) -> KernelRules:
    """Compound device pages are deduplicated even where vmemmap is not in page tables."""
    return replace(rules, vmemmap_dedup_needs_the_arch=False)
