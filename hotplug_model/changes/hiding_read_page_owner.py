"""read_page_owner(), to this day."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import hiding
from hotplug_model.rules import KernelRules


@hiding(
    "read-page-owner-asks-pfn-valid",
    "read_page_owner() asks pfn_valid() once in MAX_ORDER_NR_PAGES",
    breaks=("walkers_read_mapped_pages",),
    geometry="small",
)
def reads_past_the_last_subsection(rules: KernelRules) -> KernelRules:
    """The file page_owner reads all of a chunk of MAX_ORDER_NR_PAGES of which the first is valid.

    Since commit ba72b4c8cf60 ("mm/sparsemem: support sub-section hotplug") (in v5.3) what is
    added may end in the middle of a chunk: behind it no struct page is mapped, and
    PageBuddy() faults.

    Source: read_page_owner(), mm/page_owner.c (6.12).
    """
    return replace(rules, asks_pfn_valid=rules.asks_pfn_valid | {"read_page_owner"})
