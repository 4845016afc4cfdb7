"""The commit that gave s390 memmap_on_memory; its id could not be confirmed."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "s390-memmap-on-memory",
    "s390: enable MHP_MEMMAP_ON_MEMORY",
    since=(6, 8),
    geometry="tiny_s390",
)
def without_memmap_on_memory(rules: KernelRules) -> KernelRules:
    """On s390 no block holds its own memmap: it offers no memmap_on_memory."""
    return replace(rules, memmap_on_memory_archs=rules.memmap_on_memory_archs - {"s390"})
