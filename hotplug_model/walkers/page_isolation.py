"""mm/page_isolation.c: taking the pageblocks of a range away from the allocator.

offline_pages(), the caller that is modelled, holds mem_hotplug_lock for writing meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from hotplug_model.arrays import ExtentMask, Pfns
from hotplug_model.extents import Extents, Sees
from hotplug_model.flags import BlockState
from hotplug_model.page_state import system_ram
from hotplug_model.pfn import PfnRange
from hotplug_model.walkers.walker import (
    Holds,
    every_pfn,
    in_some,
    page_reserved,
    pfn_valid_within,
    walker,
)

FIRST = "__first_valid_page"


def offline_ranges(x: Extents) -> Iterator[PfnRange]:
    """Ranges that offline_pages() would isolate: blocks of one zone, without holes.

    # Simplified: alloc_contig_range() also isolates; its ranges are left to
    pfn_range_valid_contig().

    Source: offline_pages(); commit c5e79ef561b0 (in v5.5) for the holes.
    """
    kernel = x.kernel
    for block_id, block in kernel.blocks.items():
        one_zone = kernel.rules.block_zone(kernel, block_id) is not None
        if one_zone and block.state == BlockState.MEM_ONLINE:
            whole = kernel.block_pfns(block_id)
            pfns = PfnRange(whole.start_pfn + block.nr_vmemmap_pages, whole.end_pfn)
            holes = kernel.iomem.system_ram(pfns) != pfns.nr_pages
            if not (holes and kernel.rules.offline_rejects_holes):
                yield pfns


@lru_cache(maxsize=1)
def offline_bounds(x: Extents) -> tuple[Pfns, Pfns]:
    """First pfn and the pfn behind the last of each of the offline_ranges(), of shape
    (nr_ranges, 1); computed once a view."""
    ranges = np.array([(r.start_pfn, r.end_pfn) for r in offline_ranges(x)], np.int64)
    start, end = ranges.reshape(-1, 2).T[:, :, np.newaxis]
    return start, end


def parts_in_ranges(x: Extents) -> tuple[Pfns, Pfns]:
    """First pfn and the pfn behind the last, of shape (nr_ranges, nr_extents), of each
    row's part in each of the offline_ranges()."""
    start, end = offline_bounds(x)
    return np.maximum(x.start_pfn, start), np.minimum(x.end_pfn, end)


def may_be_isolated(x: Extents) -> ExtentMask:
    """Rows of the offline_ranges() or across their edges: whoever isolates sees no other."""
    start, end = offline_bounds(x)
    return in_some((x.start_pfn <= end) & (x.end_pfn >= start))


def online_before(x: Extents, low: Pfns) -> ExtentMask:
    """Whether an online page precedes each row in the pageblock of *low*."""
    size = x.geometry.pageblock_nr_pages
    behind = np.maximum.accumulate(np.where(every_pfn(x, FIRST), x.end_pfn, 0))
    before: ExtentMask = np.append(0, behind[:-1]) > low // size * size
    return before


@walker(
    "mm/page_isolation.c",
    believes="a page that tells the zone of its pageblock",
    sees=Sees.ISOLATION,
    holds=Holds.MEM_HOTPLUG,
)
def start_isolate_page_range(x: Extents) -> ExtentMask:
    """Looks for the first online page of each pageblock of a range that shall go offline.

    undo_isolate_page_range() and the first pass of test_pages_isolated() do the same.

    Source: start_isolate_page_range(), __first_valid_page().
    """

    def compute() -> ExtentMask:
        low, high = parts_in_ranges(x)
        size = x.geometry.pageblock_nr_pages
        leads = ~online_before(x, low) | (-(-low // size) * size < high)
        return in_some(leads & (low < high)) & every_pfn(x, FIRST)

    return x.remember("start_isolate_page_range", compute)


@walker(
    "mm/page_isolation.c",
    believes="a pageblock of online memory",
    sees=Sees.ISOLATION,
    holds=Holds.MEM_HOTPLUG,
)
def undo_isolate_page_range(x: Extents) -> ExtentMask:
    """Gives each pageblock back to the allocator, by its first online page.

    Source: undo_isolate_page_range(), __first_valid_page().
    """
    return start_isolate_page_range(x)


def movable(x: Extents) -> ExtentMask:
    """Pages that do not stop the isolation."""
    return has_unmovable_pages(x) & ~page_reserved(x)


@walker(
    "mm/page_isolation.c",
    believes="a page that is free or can be migrated away",
    takes=movable,
    sees=Sees.ISOLATION,
    holds=Holds.MEM_HOTPLUG,
)
def has_unmovable_pages(x: Extents) -> ExtentMask:
    """Reads each pageblock that shall go offline, from its first online page to its end.

    ```
    pageblock |--------------------|--------------------|
    rows      [ hole ][RAM][ hole ][ hole               ]
    read                yes  yes     no
    ```

    # Simplified: only PageReserved makes a page unmovable.

    Source: has_unmovable_pages(), set_migratetype_isolate().
    """

    def compute() -> ExtentMask:
        low, high = parts_in_ranges(x)
        read = every_pfn(x, FIRST) | online_before(x, low)
        return in_some(read & (low < high)) & pfn_valid_within(x)

    return x.remember("has_unmovable_pages", compute)


def isolated(x: Extents) -> ExtentMask:
    """Pages of count 0, and what passes for them: poison looks like PG_hwpoison."""
    rows: ExtentMask = test_pages_isolated(x) & (x.refcount == 0)
    return rows


@walker(
    "mm/page_isolation.c",
    believes="a page that is free",
    takes=isolated,
    sees=Sees.ISOLATION,
    holds=Holds.MEM_HOTPLUG,
)
def test_pages_isolated(x: Extents) -> ExtentMask:
    """Reads every page of a range that is going offline, whether or not it is online.

    Before v5.10 it read what is System RAM of it.

    # Simplified: PageBuddy is not modelled, so every page with count 0 counts as free.

    Source: test_pages_isolated(), __test_page_isolated_in_pageblock(); commit 0a1a9a0008bb
    ("mm/memory_hotplug: simplify page offlining") (in v5.10).
    """

    def compute() -> ExtentMask:
        low, high = parts_in_ranges(x)
        read = in_some(low < high) & pfn_valid_within(x)
        return read & system_ram(x) if x.kernel.rules.offlining_walks_system_ram else read

    return x.remember("test_pages_isolated", compute)


@walker(
    "mm/page_isolation.c",
    believes="part of a page across the edge",
    sees=Sees.ISOLATION,
    holds=Holds.MEM_HOTPLUG,
)
def isolate_single_pageblock(x: Extents) -> ExtentMask:
    """Looks at the page across either edge of a range that shall go offline.

    # Simplified: the pages before the edge, which it also looks through, are those that
    has_unmovable_pages() reads.

    Source: isolate_single_pageblock().
    """

    def compute() -> ExtentMask:
        start, end = offline_bounds(x)
        edges = np.concatenate((start[:, 0] - 1, end[:, 0]))
        across = edges[(edges >= 0) & (edges < x.geometry.all_pfns.end_pfn)]
        rows = np.zeros(len(x.start_pfn), bool)
        rows[x.row_of(across)] = True
        return rows & every_pfn(x, "isolate_single_pageblock")

    return x.remember("isolate_single_pageblock", compute)
