"""Commit 39d35edee453 ("mm: sparsemem: fix missing higher order allocation splitting") (in v5.19)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "39d35edee453",
    "mm: sparsemem: fix missing higher order allocation splitting",
    since=(5, 19),
    breaks=("vmemmap_is_freed_as_it_was_given",),
    boots=("hugetlb",),
)
def split_the_mapping_only(rules: KernelRules) -> KernelRules:
    """A huge page of vmemmap is freed in part though only its mapping was split."""
    return replace(rules, vmemmap_split_splits_the_page=False)
