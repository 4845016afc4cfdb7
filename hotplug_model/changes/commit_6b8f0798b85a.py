"""Commit 6b8f0798b85a ("mm/memory_hotplug: split memmap_on_memory requests across memblocks") (in v6.8)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "6b8f0798b85a",
    "mm/memory_hotplug: split memmap_on_memory requests across memblocks",
    since=(6, 8),
)
def one_block_only(rules: KernelRules) -> KernelRules:
    """memmap_on_memory needs a range of exactly one memory block, else -EINVAL.

    The commit also lost what f42ce5f087eb had put right in v6.7.
    """
    return replace(
        rules,
        memmap_on_memory="one_block",
        memmap_on_memory_falls_back=False,
        rollback_passes_altmap=True,
    )
