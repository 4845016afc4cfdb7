"""What is broken stays out of use."""

from __future__ import annotations

from hotplug_model.extents import Extents
from hotplug_model.flags import PageContent, PageFlag
from hotplug_model.invariants.invariant import law
from hotplug_model.pfn import PfnRange


@law(reads="pfns blocks")
def broken_pages_do_not_come_back(x: Extents) -> list[PfnRange]:
    """The buddy allocator has a page whose memory is broken, and nothing says so.

    A struct page that is initialised anew has forgotten; the block has not.

    Source: memory_block_online(); commit 5033091de814 ("mm/hwpoison: introduce
    per-memory_block hwpoison counter") (in v6.2).
    """
    pfns = x.kernel.pfns
    found = []
    for block_id, block in sorted(x.kernel.blocks.items()):
        for pfn in (x.kernel.block_pfns(block_id).start_pfn + each for each in block.broken):
            flags = pfns.at(pfn, "page_flags") & (PageFlag.MANAGED | PageFlag.PG_hwpoison)
            in_use = pfns.at(pfn, "content") == PageContent.INITIALISED
            if in_use and flags == PageFlag.MANAGED:
                found.append(PfnRange(pfn, pfn + 1))
    return found
