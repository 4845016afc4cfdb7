"""Bugs of mm/sparse.c that no released kernel is known to have had."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import proposing
from hotplug_model.rules import KernelRules


@proposing(
    "existing-root-fails",
    "a section below an existing entry of mem_section is cleaned up after success",
    breaks=(
        "requests_are_refused_for_a_reason", "valid_pfns_have_a_struct_page",
        "vmemmap_outlives_its_pfns",
    ),
)
def existing_root_fails(rules: KernelRules) -> KernelRules:
    """That mem_section had an entry already ends adding a section, which was ready.

    linux-next had it in July 2018, when sparse_init_one_section() came to return nothing: the
    -EEXIST of sparse_index_init() was then what the clean-up went by. v4.19 resets it.
    """
    return replace(rules, existing_root_is_success=False)
