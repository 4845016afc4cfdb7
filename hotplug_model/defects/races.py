"""Of walkers that take time: what the kernel accepts, and what it gets wrong."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.defects.defect import accepted_race, known_defect, no_rows
from hotplug_model.extents import Extents
from hotplug_model.state.ledger import Cause


@accepted_race(
    "walkers_use_no_poisoned_page",
    "walkers_use_what_they_looked_up",
    causes=(Cause.WENT_OFFLINE,),
)
def walkers_race_with_offlining(x: Extents) -> ExtentMask:
    """A walker without a lock looks a page up, and it goes offline before it is read.

    pfn_to_online_page() tells of the instant at which it is asked. Who neither holds
    get_online_mems() nor a reference on the page may go on with it while offline_pages()
    clears SECTION_IS_ONLINE and remove_pfn_range_from_zone() poisons the struct page. The
    memmap is still mapped, so that nothing faults. Walkers raced with offlining before the
    function existed; it narrows the window and is not meant to close it.

    Source: David Hildenbrand on linux-mm, February 2025: pfn_to_online_page() "can still race
    with memory offlining" (quoted in <e7f45603-17f4-4ff7-9d84-1331f0f1b447@redhat.com>);
    pfn_to_online_page(), offline_pages() in mm/memory_hotplug.c (6.1).
    """
    return no_rows(x)

USED_WHEN_GONE = (
    "walkers_use_no_poisoned_page",
    "walkers_use_what_they_looked_up",
    "walkers_use_mapped_pages",
)
"""What is noticed of a page that went away under who had looked it up."""


@known_defect("walkers_use_mapped_pages", quiescent=True, causes=(Cause.WENT_AWAY,))
def nothing_keeps_a_walker_s_memmap(x: Extents) -> ExtentMask:
    """A walker without a lock looks a page up, and its memmap is freed before it is read.

    offline_and_remove_memory() goes from offline_mem_sections(), which makes
    pfn_to_online_page() return NULL, to vmemmap_free() without a grace period or anything
    else that a walker could take part in. One that was left between the look-up and the
    read faults. Offlining and removing in two requests from user space is no different,
    but takes longer.

    Source: offline_and_remove_memory(), try_remove_memory() in mm/memory_hotplug.c;
    section_deactivate(), depopulate_section_memmap() in mm/sparse.c (6.1).
    """
    return no_rows(x)


@known_defect(
    *USED_WHEN_GONE,
    "pages_outlive_the_references_on_them",
    quiescent=True,
    causes=(Cause.SKIPPED,),
)
def offlining_skips_a_broken_page_that_is_held(x: Extents) -> ExtentMask:
    """A block goes offline under who holds a reference on a broken page of it.

    memory_failure() keeps a reference for ever, so offlining cannot tell by the count who
    else holds one: it passes over whatever is PG_hwpoison. split_huge_pages_all() and DAMON
    take a reference on any page and ask whether it is on an LRU list only then. If the
    block is offlined or removed in between, put_page() writes to a poisoned struct page or
    to memory that is not mapped.

    Source: __test_page_isolated_in_pageblock() in mm/page_isolation.c; do_migrate_range() in
    mm/memory_hotplug.c; split_huge_pages_all() in mm/huge_memory.c; damon_get_page() in
    mm/damon/ops-common.c (6.1).
    """
    return no_rows(x)


@known_defect("nobody_reads_what_was_freed", quiescent=True, causes=(Cause.OUTSIDE_RCU,))
def online_page_reads_usage_outside_rcu(x: Extents) -> ExtentMask:
    """pfn_to_online_page() reads a usage map that kfree_rcu() need not keep for it.

    pfn_valid() calls pfn_section_valid() between rcu_read_lock_sched() and its end;
    pfn_to_online_page() calls the same function outside of any. If it has loaded ms->usage
    when section_deactivate() frees that by kfree_rcu() and stores NULL, the grace period
    does not wait for it, and test_bit() reads freed memory.

    Source: pfn_to_online_page() in mm/memory_hotplug.c; pfn_section_valid(), pfn_valid()
    in include/linux/mmzone.h; section_deactivate() in mm/sparse.c (6.1).
    """
    return no_rows(x)


@known_defect(
    *USED_WHEN_GONE,
    "pages_outlive_the_references_on_them",
    quiescent=True,
    causes=(Cause.UNCOUNTED,),
)
def a_device_goes_while_its_pages_are_held(x: Extents) -> ExtentMask:
    """memunmap_pages() does not wait for who holds a page of an fs-dax or device-dax map.

    Until v5.17 it put each page, and the last reference on a page dropped that on the map,
    for which it waited. Since commit 27674ef6c73f it drops as many references as there are
    pages, held or not, and put_page() drops none. Commit 0dc45ca1ce18 ("mm/memremap.c: take a
    pgmap reference on page allocation") says so, and mends it for private and coherent
    memory. Who has pinned a DAX page then writes to a poisoned struct page, or to one that
    is not mapped.

    Source: memunmap_pages(), free_zone_device_page() in mm/memremap.c; gup_pte_range() in
    mm/gup.c (6.1).
    """
    return no_rows(x)
