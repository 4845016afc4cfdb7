"""Commit ca2c36cae9d4 ("powerpc/mm: remove linear mapping if __add_pages() fails in arch_add_memory()") (in v5.11)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "ca2c36cae9d4",
    "powerpc/mm: remove linear mapping if __add_pages() fails in arch_add_memory()",
    since=(5, 11),
    breaks=("the_linear_map_ends_with_its_memory",),
    geometry="tiny_powerpc",
)
def mapping_stays(rules: KernelRules) -> KernelRules:
    """powerpc maps what it shall add, and leaves it mapped if __add_pages() fails."""
    return replace(rules, powerpc_unmaps_what_failed=False)
