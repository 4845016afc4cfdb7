"""Commit ba72b4c8cf60 ("mm/sparsemem: support sub-section hotplug") (in v5.3)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing("ba72b4c8cf60", "mm/sparsemem: support sub-section hotplug", since=(5, 3))
def whole_sections(rules: KernelRules) -> KernelRules:
    """A section is reset, to 0, when its memmap is gone; what is added begins its section.

    That device memory came in whole sections is commit 7cc7867fb061's.
    """
    return replace(
        rules, memmap_freed_before_reset=True, section_mem_map_reset_to_0=True,
        memmap_found_by_pfn_to_page=True,
    )  # fmt: skip
