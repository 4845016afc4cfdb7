"""Commit c7bde43f6daf ("mm/hugetlb_vmemmap: fix incorrect vmemmap restore in rollback") (in
v7.1)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "c7bde43f6daf",
    "mm/hugetlb_vmemmap: fix incorrect vmemmap restore in rollback",
    since=(7, 1),
    breaks=(
        "online_pages_are_initialised", "present_pages_add_up",
        "walkers_take_no_uninitialised_page",
    ),
    boots=("hugetlb",),
    faults=True,
)
def restore_the_head_too(rules: KernelRules) -> KernelRules:
    """What was remapped before page tables ran out is restored with the head, from a tail."""
    return replace(rules, hugetlb_rollback_spares_the_head=False)
