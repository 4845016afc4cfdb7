"""Commit 32c877191e02 ("hugetlb: do not clear hugetlb dtor until allocating vmemmap") (in v6.5)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "32c877191e02",
    "hugetlb: do not clear hugetlb dtor until allocating vmemmap",
    since=(6, 5),
    breaks=("aliased_struct_pages_are_huge",),
    boots=("hugetlb",),
)
def clear_the_dtor_first(rules: KernelRules) -> KernelRules:
    """A huge page is none any more while its struct pages are still missing."""
    return replace(rules, hugetlb_dtor_outlives_vmemmap=False)
