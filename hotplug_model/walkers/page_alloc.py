"""mm/page_alloc.c: pageblocks of a zone, candidates for contiguous allocations."""

from __future__ import annotations

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents, Sees
from hotplug_model.walkers.walker import (
    every_pfn,
    every_pfn_of_zones,
    page_reserved,
    pageblocks,
    pages_of_zones,
    walker,
)


def whole_pageblocks(x: Extents) -> ExtentMask:
    """Pageblocks that begin with an online page of a zone and end with a valid one, of zones that
    are not known to have no hole.

    What lies between is not looked at.
    """

    def compute() -> ExtentMask:
        blocks = pageblocks(x)
        begins = every_pfn(x, "__pageblock_pfn_to_page")[blocks.first] & blocks.first_links
        whole = begins & x.pfn_valid[blocks.last] & blocks.last_links
        return blocks.rows(whole & blocks.tested)

    return x.remember("whole_pageblocks", compute)


def pageblock_pfn_to_page(x: Extents) -> ExtentMask:
    """Pageblocks that pass the test, and all of a zone that is known to have no hole.

    # Simplified: compaction keeps its place when a zone shrinks, and then may be outside of it,
    where a zone that is contiguous again lets it go on.

    Source: pageblock_pfn_to_page(), mm/internal.h.
    """

    def compute() -> ExtentMask:
        blocks = pageblocks(x)
        untested = np.broadcast_to(~blocks.tested, blocks.first.shape)
        return whole_pageblocks(x) | blocks.rows(untested)

    return x.remember("pageblock_pfn_to_page", compute)


@walker(
    "mm/page_alloc.c",
    believes="a pageblock that is online memory of the zone",
    takes=whole_pageblocks,
)
def __pageblock_pfn_to_page(x: Extents) -> ExtentMask:
    """Looks at the first page of each pageblock of a zone, then at the last.

    Nobody asks it for one of a zone that is known to have no hole.

    Source: __pageblock_pfn_to_page(); commit 2d070eab2e82 (in v4.13).
    """

    def compute() -> ExtentMask:
        blocks = pageblocks(x)
        looks_at_last = blocks.first_links & x.pfn_valid[blocks.last]
        read = (blocks.first == blocks.row) | ((blocks.last == blocks.row) & looks_at_last)
        asked = every_pfn(x, "__pageblock_pfn_to_page")[blocks.first] & blocks.tested
        return blocks.rows(asked & read)

    return x.remember("__pageblock_pfn_to_page", compute)


def unreserved(x: Extents) -> ExtentMask:
    """Pages of the zone that are not reserved."""
    return pages_of_zones(x, "pfn_range_valid_contig") & ~page_reserved(x)


@walker(
    "mm/page_alloc.c",
    believes="a page that can be isolated and migrated away",
    takes=unreserved,
    sees=Sees.ROW,
)
def pfn_range_valid_contig(x: Extents) -> ExtentMask:
    """Looks at every page of a window in a zone's span for alloc_contig_pages().

    # Simplified: a window is one page; a bad page in a larger one rejects its neighbours.
    PageHuge is not modelled.

    Source: pfn_range_valid_contig().
    """
    return every_pfn_of_zones(x, "pfn_range_valid_contig")
