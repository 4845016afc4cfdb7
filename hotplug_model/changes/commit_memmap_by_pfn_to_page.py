""""mm/sparsemem: get address to page struct instead of address to pfn" (in v5.7).

Its id could not be confirmed. The release is inferred: it was queued in March 2020.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "memmap-by-pfn-to-page",
    "mm/sparsemem: get address to page struct instead of address to pfn",
    since=(5, 7),
    breaks=("section_mem_map_leads_to_the_memmap",),
)
def encode_where_the_memory_is(rules: KernelRules) -> KernelRules:
    """A section to which a part is added encodes where its memory lies, not its memmap."""
    return replace(rules, memmap_found_by_pfn_to_page=False)
