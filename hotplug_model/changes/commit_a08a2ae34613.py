"""Commit a08a2ae34613 ("mm,memory_hotplug: allocate memmap from the added memory range") (in v5.13)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "a08a2ae34613",
    "mm,memory_hotplug: allocate memmap from the added memory range",
    since=(5, 13),
)
def no_memmap_on_memory(rules: KernelRules) -> KernelRules:
    """memmap_on_memory does not exist; its flag is ignored."""
    return replace(rules, memmap_on_memory="absent", memmap_on_memory_falls_back=True)
