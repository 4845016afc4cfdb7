"""mm/compaction.c: moving movable pages to one end of a zone."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.walkers.page_alloc import pageblock_pfn_to_page
from hotplug_model.walkers.walker import (
    every_pfn,
    page_is_held,
    pageblocks,
    pfn_valid_within,
    walker,
)

SCANS = ("isolate_migratepages_block", "isolate_freepages_block")
"""Who looks through what pageblock_pfn_to_page() lets it."""


@walker("mm/compaction.c", believes="a page that may be on an LRU list")
def isolate_migratepages_block(x: Extents) -> ExtentMask:
    """Looks for pages to move, in every pageblock that pageblock_pfn_to_page() lets it.

    # Simplified: PageLRU is not modelled, so every page counts as taken.

    Source: isolate_migratepages(), isolate_migratepages_block().
    """
    return x.remember(
        "isolate_migratepages_block", lambda: pageblock_pfn_to_page(x) & pfn_valid_within(x)
    )


def free(x: Extents) -> ExtentMask:
    """Pages of those pageblocks that nobody holds."""
    return isolate_freepages_block(x) & ~page_is_held(x)


@walker("mm/compaction.c", believes="a page in the buddy allocator", takes=free)
def isolate_freepages_block(x: Extents) -> ExtentMask:
    """Looks for free pages to move others to, in the same pageblocks.

    # Simplified: PageBuddy is not modelled, so every page with count 0 counts as free.

    Source: isolate_freepages(), isolate_freepages_block().
    """
    return isolate_migratepages_block(x)


def resettable(x: Extents) -> ExtentMask:
    """Pageblocks that are looked through for a page to move or to move to."""

    def compute() -> ExtentMask:
        blocks, asked = pageblocks(x), every_pfn(x, "__reset_isolation_pfn")
        # The scan from below comes with the first pfn, the one from above with the last,
        # and stays there unless the first is online.
        whole = asked[blocks.first] & (blocks.first_links | blocks.last_links)
        stays = blocks.last_links & (blocks.last == blocks.row)
        return blocks.rows((whole | stays) & asked[blocks.last])

    return x.remember("resettable", compute)


@walker(
    "mm/compaction.c",
    believes="a pageblock with pages to move or to move to",
    takes=resettable,
)
def __reset_isolation_pfn(x: Extents) -> ExtentMask:
    """Looks at both ends of each pageblock of a zone, then at pages between, unchecked.

    # Simplified: all pages between, not each eighth; a scan always enters a pageblock at
    one of its ends.

    Source: __reset_isolation_pfn(), __reset_isolation_suitable().
    """

    def compute() -> ExtentMask:
        blocks, asked = pageblocks(x), every_pfn(x, "__reset_isolation_pfn")
        at_start = asked[blocks.first] & (blocks.first == blocks.row)
        at_end = asked[blocks.last] & (blocks.last == blocks.row)
        return blocks.rows(at_start | at_end) | resettable(x)

    return x.remember("__reset_isolation_pfn", compute)
