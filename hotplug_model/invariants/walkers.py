"""No walker sees what it must not, and none misses what it should."""

from __future__ import annotations

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import PageContent
from hotplug_model.invariants.invariant import always
from hotplug_model.walkers import WALKERS, Walker

UNINITIALISED = (PageContent.ZEROED, PageContent.GARBAGE)


def may_run(x: Extents, walker: Walker) -> bool:
    """Whether the walker could run now: hotplug does not hold what it waits for."""
    return not (walker.waits_for_hotplug and x.kernel.locks.mem_hotplug)


def read(x: Extents) -> ExtentMask:
    """Rows of which some walker reads a struct page."""
    scans = {walker.reads for walker in WALKERS if may_run(x, walker)}
    return x.remember("read", lambda: np.logical_or.reduce([scan(x) for scan in scans]))


def taken(x: Extents) -> ExtentMask:
    """Rows that some walker takes for online System RAM."""
    scans = {walker.takes for walker in WALKERS if may_run(x, walker)}
    return x.remember("taken", lambda: np.logical_or.reduce([scan(x) for scan in scans]))


@always(local=False)
def walkers_take_no_zone_device_page(x: Extents) -> ExtentMask:
    """A pfn walker takes a ZONE_DEVICE page for online System RAM.

    Source: pfn_to_online_page(), mm/memory_hotplug.c; commit 1f90a3477df3 ("mm: teach
    pfn_to_online_page() about ZONE_DEVICE section collisions") (in v5.12).
    """
    return taken(x) & x.is_zone_device


@always(local=False)
def walkers_read_no_poisoned_page(x: Extents) -> ExtentMask:
    """A pfn walker reads a poisoned struct page.

    Source: PF_POISONED_CHECK(), include/linux/page-flags.h; commit d33695b16a9f ("mm/
    memory_hotplug: poison memmap in remove_pfn_range_from_zone()") (in v5.6).
    """
    rows: ExtentMask = read(x) & (x.content == PageContent.POISONED)
    return rows


@always(local=False)
def walkers_take_no_stale_page(x: Extents) -> ExtentMask:
    """A pfn walker believes a struct page whose owner is gone.

    Source: pfn_to_online_page(), mm/memory_hotplug.c; commit 9f9b02e5b346 ("mm: teach
    pfn_to_online_page() to consider subsection validity") (in v5.12).
    """
    rows: ExtentMask = taken(x) & (x.content == PageContent.STALE)
    return rows


@always(local=False)
def walkers_take_no_uninitialised_page(x: Extents) -> ExtentMask:
    """A pfn walker believes a struct page that nobody has initialised.

    Source: commit 2d070eab2e82 ("mm: consider zone which is not fully populated to have
    holes") (in v4.13).
    """
    return taken(x) & np.isin(x.content, UNINITIALISED)


@always(local=False)
def walkers_read_mapped_pages(x: Extents) -> ExtentMask:
    """A pfn walker reads a struct page that is not mapped.

    Source: pfn_valid(), include/linux/mmzone.h.
    """
    return read(x) & ~x.mapped


@always(local=False)
def walkers_miss_no_online_page(x: Extents) -> ExtentMask:
    """A pfn walker that must see all online pages misses one.

    Source: pfn_to_online_page(), mm/memory_hotplug.c.
    """
    complete = {walker.takes for walker in WALKERS if walker.complete}
    missed = ~np.logical_and.reduce([takes(x) for takes in complete])
    rows: ExtentMask = x.is_online_ram & missed
    return rows
