"""Commit 46b1ee38b2ba ("mm/mremap_pages: fix static key devmap_managed_key updates") (in v5.10)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "46b1ee38b2ba",
    "mm/mremap_pages: fix static key devmap_managed_key updates",
    since=(5, 10),
    breaks=("devmap_managed_key_counts_its_maps",),
)
def put_for_every_map(rules: KernelRules) -> KernelRules:
    """devmap_managed_key is decremented for maps that never incremented it."""
    return replace(rules, devmap_managed_put_as_got=False)
