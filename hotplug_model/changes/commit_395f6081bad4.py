"""Commit 395f6081bad4 ("drivers/base/memory: determine and store zone for single-zone
memory blocks") (in v5.18)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hotplug_model.changes.change import undoing
from hotplug_model.flags import BlockState, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.rules import KernelRules


def test_pages_in_a_zone(kernel: Kernel, block_id: int) -> ZoneType | None:
    """The zone that the first struct page of every buddy chunk of the block links to.

    None if they differ, or if one lies outside the span of that zone, as in a hole at
    the end of memory. The struct pages are read whether they are initialised or not.

    Source: test_pages_in_a_zone(), mm/memory_hotplug.c, until v5.17.
    """
    if kernel.blocks[block_id].state == BlockState.MEM_OFFLINE:
        return kernel.blocks[block_id].zone
    x, pfns, step = kernel.extents(), kernel.block_pfns(block_id), kernel.geometry.max_order_nr_pages
    start, end = np.maximum(x.start_pfn, pfns.start_pfn), np.minimum(x.end_pfn, pfns.end_pfn)
    asked = (-(-start // step) * step < end) & x.pfn_valid
    links = {(int(nid), int(zone)) for nid, zone in zip(x.nid[asked], x.zone[asked], strict=True)}
    if len(links) != 1:
        return None
    nid, number = links.pop()
    if nid not in kernel.nodes or number not in list(ZoneType):
        return None
    span = kernel.zone(nid, ZoneType(number)).span
    first = -(-start[asked] // step) * step
    last = (end[asked] - 1) // step * step
    inside = (first >= span.start_pfn - span.start_pfn % step) & (last < span.end_pfn)
    return ZoneType(number) if inside.all() else None


@undoing(
    "395f6081bad4",
    "drivers/base/memory: determine and store zone for single-zone memory blocks",
    since=(5, 18),
    breaks=("zones_of_blocks_are_not_read_blind",),
)
def ask_the_struct_pages(rules: KernelRules) -> KernelRules:
    """Which zone a memory block belongs to is read from its struct pages."""
    return replace(rules, block_zone=test_pages_in_a_zone, block_zone_is_cached=False)
