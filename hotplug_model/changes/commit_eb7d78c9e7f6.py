"""Commit eb7d78c9e7f6 ("devm_memremap_pages: fix vmem_altmap lifetime + alignment
handling") (in v4.5).

The release is inferred from dates. That the map was deleted first is inferred from its message.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "eb7d78c9e7f6",
    "devm_memremap_pages: fix vmem_altmap lifetime + alignment handling",
    since=(4, 5),
    breaks=("altmaps_account_for_what_they_gave", "memmap_goes_back_to_its_owner"),
    needs=("altmap-as-argument",),
)
def delete_the_map_first(rules: KernelRules) -> KernelRules:
    """A map cannot be looked up any more when its memory is removed."""
    return replace(rules, pgmap_array_deleted_last=False)
