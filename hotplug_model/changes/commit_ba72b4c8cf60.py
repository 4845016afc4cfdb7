"""Commit ba72b4c8cf60 ("mm/sparsemem: support sub-section hotplug") (in v5.3)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing("ba72b4c8cf60", "mm/sparsemem: support sub-section hotplug", since=(5, 3))
def whole_sections(rules: KernelRules) -> KernelRules:
    """Device memory shares no section with RAM, and a section is reset when its memmap is gone.

    # Simplified: a map that ends amid a section without RAM takes the part that it names,
    not the whole section.
    """
    return replace(rules, memremap_shares_sections=False, memmap_freed_before_reset=True)
