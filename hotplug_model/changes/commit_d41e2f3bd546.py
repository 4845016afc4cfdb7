"""Commit d41e2f3bd546 ("mm/hotplug: fix hot remove failure in SPARSEMEM|!VMEMMAP case") (in v5.6).

As it was with commit 1f503443e7df (in v5.6), after which a section that is reset decodes to
an address that is none; before that it was NULL, and the memmap was leaked only.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "d41e2f3bd546",
    "mm/hotplug: fix hot remove failure in SPARSEMEM|!VMEMMAP case",
    since=(5, 6),
    breaks=(
        "allocated_vmemmap_is_mapped",
        "memmap_goes_back_to_its_owner",
    ),
)
def reset_before_it_is_read(rules: KernelRules) -> KernelRules:
    """Without SPARSEMEM_VMEMMAP a section is reset before its memmap is looked up."""
    return replace(rules, memmap_freed_before_reset=False)
