"""Device maps: look-up, struct pages and references agree."""

from __future__ import annotations

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import RefState
from hotplug_model.invariants.invariant import always, law
from hotplug_model.pfn import PfnRange, merge_ranges


@law(reads="pfns pgmaps", quiescent=True)
def pgmap_array_holds_the_maps(x: Extents) -> list[PfnRange]:
    """A pfn of a live map is not found in pgmap_array, or a dead map's is.

    Source: pagemap_range(), pgmap_array_delete(), mm/memremap.c.
    """
    claimed = np.zeros(len(x.start_pfn), bool)
    wrong: list[PfnRange] = []
    for pgmap_id, pgmap in x.kernel.pgmaps.items():
        for pfns in merge_ranges(sorted(pgmap.ranges)):
            inside = (x.start_pfn >= pfns.start_pfn) & (x.end_pfn <= pfns.end_pfn)
            claimed |= inside & (x.pgmap_array == pgmap_id)
            wrong += x.where(inside & (x.pgmap_array != pgmap_id))
    return wrong + list(x.where((x.pgmap_array >= 0) & ~claimed))


@always(quiescent=True)
def device_pages_point_to_their_map(x: Extents) -> ExtentMask:
    """page->pgmap of a mapped device page is not the map that pgmap_array has.

    Altmap pages have no map, and are no data.

    Source: memmap_init_zone_device(), mm/page_alloc.c.
    """
    mapped = x.is_zone_device & x.subsection & (x.dev_pagemap >= 0)
    rows: ExtentMask = mapped & (x.page_pgmap >= 0) & (x.page_pgmap != x.pgmap_array)
    return rows


@always(quiescent=True)
def populated_device_pages_have_a_map(x: Extents) -> ExtentMask:
    """A populated ZONE_DEVICE page has no live map.

    Source: memunmap_pages(), mm/memremap.c.
    """
    return x.is_zone_device & x.subsection & (x.dev_pagemap < 0)


@law(reads="pfns pgmaps")
def populated_device_pages_are_initialised(x: Extents) -> list[PfnRange]:
    """A data page of a live map has a struct page that nobody has initialised, or without a map.

    From when all of a range is mapped until the map's reference is killed, anybody may find
    them by get_dev_pagemap().

    Source: memmap_init_zone_device(), mm/mm_init.c; commit cd681403a870 ("mm/mm_init: fix
    uninitialized struct pages for ZONE_DEVICE").
    """
    wrong: list[PfnRange] = []
    live = [pgmap for pgmap in x.kernel.pgmaps.values() if pgmap.ref == RefState.LIVE]
    for pgmap in live:
        for range_id in range(pgmap.nr_range):
            pfns = PfnRange(pgmap.pfn_first(range_id), pgmap.ranges[range_id].end_pfn)
            set_up = x.initialised & (x.page_pgmap >= 0)
            bare = x.where(x.touched([pfns]) & ~set_up & x.mapped)
            wrong += [each.intersection(pfns) for each in bare]
    return wrong


@law(reads="pgmaps", quiescent=True)
def pgmap_references_count_the_pages(x: Extents) -> list[PfnRange]:
    """A live map does not hold one reference a data page, or one that is dead some.

    A compound page counts as one.

    Source: pagemap_range(), memunmap_pages(): percpu_ref_get_many(pfn_len()).
    """
    wrong: list[PfnRange] = []
    for pgmap in x.kernel.pgmaps.values():
        pages = sum(pgmap.pfn_len(i) for i in range(pgmap.nr_range))
        expected = 1 + (pages if pgmap.counts_pages else 0)
        if pgmap.ref != RefState.LIVE or pgmap.nr_refs != expected:
            wrong += pgmap.ranges
    return wrong


@law(reads="pgmaps")
def devmap_managed_key_counts_its_maps(x: Extents) -> list[PfnRange]:
    """devmap_managed_key is not the number of maps whose driver wants its pages back.

    Below that, a page of theirs goes to the buddy allocator with its last reference.

    Source: put_devmap_managed_page(), include/linux/mm.h; devmap_managed_enable_get(),
    mm/memremap.c (6.1).
    """
    wanted = [p for p in x.kernel.pgmaps.values() if p.type in x.kernel.rules.devmap_managed]
    return [] if x.kernel.devmap_managed_key == len(wanted) else [x.geometry.all_pfns]
