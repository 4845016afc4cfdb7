"""Commit 2830bf6f05fb ("mm, memory_hotplug: initialize struct pages for the full memory section") (in v4.20)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "2830bf6f05fb",
    "mm, memory_hotplug: initialize struct pages for the full memory section",
    since=(4, 20),
    needs=("4aa9fc2a435a",),
)
def initialise_ram_only(rules: KernelRules) -> KernelRules:
    """What 4aa9fc2a435a reverted is not there yet: boot stops where the memory ends.

    # Simplified: what then remains uninitialised is as initialised as today.
    """
    return replace(rules, memmap_init_to_section_end=False)
