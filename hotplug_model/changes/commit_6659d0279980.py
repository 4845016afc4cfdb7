"""Commit 6659d0279980 ("x86/mm/64: define ARCH_PAGE_TABLE_SYNC_MASK and
arch_sync_kernel_mappings()") (in v6.17)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "6659d0279980",
    "x86/mm/64: define ARCH_PAGE_TABLE_SYNC_MASK and arch_sync_kernel_mappings()",
    since=(6, 17),
    breaks=("vmemmap_is_written_when_all_have_it",),
    geometry="tiny_56",
)
def sync_when_all_is_mapped(rules: KernelRules) -> KernelRules:
    """Other page tables have a new top-level entry of vmemmap when all below it is mapped."""
    return replace(rules, pgd_populate_syncs=False)
