"""Known defects of adding, removing and looking: sections, maps, zones, walkers."""

from __future__ import annotations

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.contiguous import in_contiguous_zone
from hotplug_model.defects.defect import (
    WALKERS_SEE,
    blamed_on,
    known_defect,
    map_state,
)
from hotplug_model.extents import Extents
from hotplug_model.flags import (
    BlockState,
    MemmapOrigin,
    RefState,
    SectionFlag,
    ZoneType,
)
from hotplug_model.pfn import PfnRange
from hotplug_model.state.ledger import Cause, Law
from hotplug_model.state.resource import SYSTEM_RAM
from hotplug_model.walkers import WALKERS
from hotplug_model.walkers.compaction import SCANS

DEVICE = ZoneType.ZONE_DEVICE


@known_defect(*WALKERS_SEE)
def dying_map_is_no_map(x: Extents) -> ExtentMask:
    """From percpu_ref_kill() until the subsection bits go, device pages count as online.

    pfn_to_online_page() asks get_dev_pagemap(), which takes no reference on a dying map
    and returns NULL, though the map is still in the array. In a section that is online
    and tainted the device page then passes for System RAM, first intact, then poisoned.
    mem_hotplug_lock does not help: memunmap_pages() kills the reference and waits for
    it outside of the lock.

    Source: memunmap_pages(), get_dev_pagemap() in mm/memremap.c (6.1, 6.12);
    pfn_to_online_page() in mm/memory_hotplug.c; section_deactivate() in mm/sparse.c.
    """
    tainted = x.section_has(SectionFlag.TAINT_ZONE_DEVICE)
    rows: ExtentMask = x.section_has_online & tainted & x.subsection
    return rows & map_state(x, RefState.KILLED)


@known_defect(*WALKERS_SEE)
def taint_comes_after_the_bit(x: Extents) -> ExtentMask:
    """From fill_subsection_map() until the section is tainted, the hole counts as online.

    The first device that shares a section makes its subsections valid in
    section_activate(), poisons their struct pages in sparse_add_section(), and only then
    taints the section in move_pfn_range_to_zone(). In between pfn_to_online_page() never
    asks for the map. For a long range that takes as long as populating its vmemmap.

    Source: sparse_add_section(), section_activate() in mm/sparse.c;
    move_pfn_range_to_zone() in mm/memory_hotplug.c; pagemap_range() in mm/memremap.c.
    """
    tainted = x.section_has(SectionFlag.TAINT_ZONE_DEVICE)
    rows: ExtentMask = x.section_has_online & ~tainted & x.subsection & (x.zone != DEVICE)
    in_flight = x.kernel.locks.mem_hotplug
    return rows & map_state(x, RefState.LIVE) & in_flight


@known_defect("valid_pfns_have_a_struct_page", "walkers_read_mapped_pages")
def valid_before_it_is_mapped(x: Extents) -> ExtentMask:
    """A later subsection of a section is valid before its struct pages are mapped.

    section_activate() sets the subsection bits, then populates the vmemmap. Where the
    section already has HAS_MEM_MAP, from a neighbour added earlier, pfn_valid() is true
    at once, and a lockless user of pfn_valid() that reads the page faults.

    Source: section_activate(), fill_subsection_map(), populate_section_memmap() in
    mm/sparse.c; pfn_valid() in include/linux/mmzone.h.
    """
    added = ~x.section_has(SectionFlag.IS_EARLY) & x.subsection
    rows: ExtentMask = added & ~x.mapped & x.kernel.locks.mem_hotplug
    # What was mapped, and was freed while it was in use, is another matter.
    return rows & ~blamed_on(x, Law.FREED_IN_USE)


@known_defect(
    *WALKERS_SEE,
    "refusals_leave_the_machine_alone",
    "online_pages_are_initialised",
    "walkers_miss_no_online_page",
    "walkers_take_no_uninitialised_page",
    "altmaps_account_for_what_they_gave",
    "self_hosted_memmap_is_nobodys_memory",
    quiescent=True,
    causes=(Cause.UNFINISHED,),
)
def add_pages_does_not_unwind(x: Extents) -> ExtentMask:
    """A multi-section add that fails midway leaves its finished sections behind.

    __add_pages() returns the error of the failing section; neither it nor pagemap_range()
    nor add_memory_resource() removes those before it. They stay valid, belong to nobody,
    and every later add there fails with -EEXIST; in an online section that was never
    tainted they count as online for good. Where an altmap holds their memmap, the driver
    thinks its memory free: added as System RAM, it is given to the buddy allocator.

    Source: __add_pages() in mm/memory_hotplug.c; pagemap_range() in mm/memremap.c
    (recorded on 5.10, 6.1 and 6.12: ``h3``).
    """
    left = in_orphan_section(x, orphans(x))
    return left | hold_the_memmap_of(x, left) | blamed_on(x, Cause.UNFINISHED)


def hold_the_memmap_of(x: Extents, rows: ExtentMask) -> ExtentMask:
    """Rows whose pages an altmap gave for the memmap of *rows*."""
    held = np.zeros(len(rows), bool)
    for pfns in x.where(rows):
        for pages, columns in x.kernel.vmemmap.runs_of(x.geometry.memmap_of(pfns)):
            if columns["origin"] >= MemmapOrigin.ALTMAP:
                offset = columns["offset"]
                held |= x.touched([PfnRange(pages.start_pfn + offset, pages.end_pfn + offset)])
    return held


@known_defect(
    *WALKERS_SEE,
    "populated_device_pages_have_a_map",
    "pgmap_array_holds_the_maps",
    "refusals_leave_the_machine_alone",
    "walkers_miss_no_online_page",
    quiescent=True,
)
def conflict_check_looks_at_the_ends(x: Extents) -> ExtentMask:
    """A map that lies strictly inside a requested range is overwritten, then erased.

    pagemap_range() looks for a conflicting map at the first and the last pfn only, then
    stores itself over the whole range. Adding the pages fails with -EEXIST and the error
    path erases the whole range from pgmap_array, the other map's part included. That map
    is live but no longer found; where it shares a section with RAM its pages count as
    online. If both are in flight it may be the map inside that fails and erases a part of
    the other.

    Source: pagemap_range(), pgmap_array_delete() in mm/memremap.c.
    """
    lost = np.zeros(len(x.start_pfn), bool)
    for pgmap_id, pgmap in x.kernel.pgmaps.items():
        for pfns in pgmap.ranges[: pgmap.nr_range]:
            inside = (x.start_pfn >= pfns.start_pfn) & (x.end_pfn <= pfns.end_pfn)
            lost |= inside & (x.pgmap_array != pgmap_id)
    return lost


@known_defect(
    "zone_spans_cover_their_pages",
    "walkers_miss_no_online_page",
    "refusals_leave_the_machine_alone",
    quiescent=True,
)
def shrinking_samples_one_pfn_a_subsection(x: Extents) -> ExtentMask:
    """A zone that shrinks loses a last subsection that ends in a hole.

    find_biggest_section_pfn() looks at the last pfn of each subsection only. Where an
    architecture knows holes in a zone and the hole is at the end of a subsection, the
    pages before it fall out of the span. Only arm64 before 5.14 has both such holes and
    memory hotplug; find_smallest_section_pfn() has the mirror image of it.

    Source: find_biggest_section_pfn(), shrink_zone_span() in mm/memory_hotplug.c.
    """
    lost = np.zeros(len(x.start_pfn), bool)
    if x.kernel.layout.holes_in_zone:
        for nid, node in x.kernel.nodes.items():
            for zone_type, zone in zip(ZoneType, node.zones, strict=True):
                outside = (x.start_pfn < zone.span.start_pfn) | (x.end_pfn > zone.span.end_pfn)
                lost |= outside & x.is_online_ram & (x.zone == zone_type) & (x.nid == nid)
    size = x.geometry.pages_per_subsection
    partly = (x.start_pfn % size != 0) | (x.end_pfn % size != 0)
    early = x.section_has(SectionFlag.IS_EARLY)
    return early & bool((lost & partly & early).any())


@known_defect(*WALKERS_SEE, "walkers_take_no_uninitialised_page", quiescent=True)
def first_pfn_decides_for_a_pageblock(x: Extents) -> ExtentMask:
    """Where pageblocks are larger than subsections, one online page opens all of it.

    Compaction, isolation and /proc/pagetypeinfo ask pfn_to_online_page() for the first
    page of a pageblock and then read the rest of it. With 64K pages a pageblock of arm64
    is a whole section of 512 MiB, so a device in the hole behind RAM is read as well.

    Source: __pageblock_pfn_to_page() in mm/page_alloc.c; isolate_migratepages_block() in
    mm/compaction.c; pagetypeinfo_showmixedcount_print() in mm/page_owner.c.
    """
    size = x.geometry.pageblock_nr_pages
    if size <= x.geometry.pages_per_subsection:
        return np.zeros(len(x.start_pfn), bool)
    first = x.row_of(x.start_pfn // size * size)
    return ~x.online_page & x.online_page[first]


@known_defect("walkers_read_no_poisoned_page", "walkers_take_no_stale_page")
def contiguous_outlasts_the_memmap(x: Extents) -> ExtentMask:
    """A zone counts as contiguous until some of its struct pages are poisoned already.

    remove_pfn_range_from_zone() poisons the struct pages of memory that just went offline, and
    clears zone->contiguous only then. Compaction takes no lock against hotplug. Where a zone is
    contiguous it does not ask whether a pageblock is online, and reads in between what is
    poisoned. That is done with CONFIG_DEBUG_VM only; without it nothing has changed there yet.
    A zone of boot memory is contiguous if it has no hole; one that grew is not, until a block at
    its edge goes offline again, or fails to go online.

    Source: remove_pfn_range_from_zone(), mm/memory_hotplug.c; pageblock_pfn_to_page(),
    mm/internal.h; isolate_migratepages(), mm/compaction.c (6.1).
    """
    leaving = (x.block == BlockState.MEM_GOING_OFFLINE) & ~x.section_has_online
    rows: ExtentMask = (x.poisoned | x.stale) & leaving & in_contiguous_zone(x)
    flagged = x.kernel.rules.zone_contiguous == "scanned"
    if not (flagged and x.kernel.locks.mem_hotplug and rows.any()):
        return rows & False
    for walker in WALKERS:
        if walker.name not in SCANS and walker.may_run(x):
            rows = rows & ~(walker.reads(x) & x.poisoned | walker.takes(x) & x.stale)
    return rows


@known_defect("refusals_leave_the_machine_alone", quiescent=True)
def a_rollback_may_be_vetoed(x: Extents) -> ExtentMask:
    """A block that went offline on the way to its removal stays offline.

    offline_and_remove_memory() takes its blocks offline one by one. If one cannot go, those
    before it are put online again; but a notifier may veto that, or lack memory, and then
    the kernel only warns.

    Source: offline_and_remove_memory(), try_reonline_memory_block() in mm/memory_hotplug.c.
    """
    rows = np.zeros(len(x.start_pfn), bool)
    for block_id, block in x.kernel.blocks.items():
        if block.left_offline:
            rows |= x.touched([x.kernel.block_pfns(block_id)])
    return rows


def orphans(x: Extents) -> ExtentMask:
    """Populated rows that no block, no map in the array and no System RAM accounts for.

    A subsection that holds some RAM is accounted for as a whole.
    """
    ram = np.zeros(len(x.start_pfn), bool)
    size = x.geometry.pages_per_subsection
    for pfns in x.kernel.iomem.merged(SYSTEM_RAM):
        around = pfns.widened(size)
        ram |= (x.start_pfn < around.end_pfn) & (x.end_pfn > around.start_pfn)
    in_block = x.has_block & ~x.section_has(SectionFlag.IS_EARLY)
    rows: ExtentMask = x.subsection & ~ram & ~in_block & ~in_a_map(x) & ~x.is_zone_device
    return rows


def in_a_map(x: Extents) -> ExtentMask:
    """Rows of ranges whose pages a map has added, or may just be adding.

    An entry in pgmap_array alone proves nothing: it is stored before pagemap_range()
    finds that somebody left sections behind.
    """
    if x.kernel.locks.mem_hotplug:
        return x.pgmap_array >= 0
    added = np.zeros(len(x.start_pfn), bool)
    for pgmap in x.kernel.pgmaps.values():
        for pfns in pgmap.ranges[: pgmap.nr_added]:
            added |= (x.start_pfn >= pfns.start_pfn) & (x.end_pfn <= pfns.end_pfn)
    return added & (x.pgmap_array >= 0)


def in_orphan_section(x: Extents, rows: ExtentMask) -> ExtentMask:
    """*rows*, and whatever else of their sections is not populated."""
    size = x.geometry.pages_per_section
    sections = np.unique(x.start_pfn[rows] // size)
    return rows | (np.isin(x.start_pfn // size, sections) & ~x.subsection)
