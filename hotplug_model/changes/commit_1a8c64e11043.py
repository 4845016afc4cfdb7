"""Commit 1a8c64e11043 ("mm/memory_hotplug: embed vmem_altmap details in memory block") (in v6.6)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "1a8c64e11043",
    "mm/memory_hotplug: embed vmem_altmap details in memory block",
    since=(6, 6),
    needs=("a2b8d7827f48",),
)
def know_the_number_only(rules: KernelRules) -> KernelRules:
    """A memory block does not keep its altmap, so none is left when registering it fails."""
    return replace(rules, block_altmap_stored="never")
