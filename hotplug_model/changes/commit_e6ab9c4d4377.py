"""Commit e6ab9c4d4377 ("x86/mm/64: Fix crash in remove_pagetable()") (in v4.12).

What it fixes came in the same merge window, so no release had it.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import proposing
from hotplug_model.rules import KernelRules


@proposing(
    "without-e6ab9c4d4377",
    "x86/mm/64: Fix crash in remove_pagetable(), undone: no release is without it",
    breaks=("struct_pages_are_no_page_table", "unused_vmemmap_is_freed"),
)
def take_a_pgd_for_a_p4d(rules: KernelRules) -> KernelRules:
    """Freeing vmemmap looks for page tables one level too low, in struct pages at last."""
    return replace(rules, p4d_offset_in_remove_pagetable=False)
