"""Declaring pfn walkers: kernel code that scans page frame numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from inspect import cleandoc
from typing import TypeAlias

import numpy as np

from hotplug_model.arrays import ExtentMask, Pfns
from hotplug_model.contiguous import contiguous_zones
from hotplug_model.errors import UserError
from hotplug_model.extents import NR_ZONES, Extents, Sees
from hotplug_model.flags import PageFlag, SectionFlag
from hotplug_model.registry import Registry, unknown
from hotplug_model.state.locks import DEVICE_HOTPLUG_LOCK, MEM_HOTPLUG_LOCK

Scan: TypeAlias = Callable[[Extents], ExtentMask]


class Holds(Enum):
    """What a walker keeps from when it looks a pfn up until it has read its struct page."""

    NOTHING = "nothing"
    ONLINE_MEMS = "get_online_mems"
    """mem_hotplug_lock for reading."""
    MEM_HOTPLUG = "mem_hotplug_begin"
    """It runs in the middle of an operation that holds mem_hotplug_lock for writing."""
    DEVICE_HOTPLUG = "device_hotplug_lock"
    PAGE = "get_page"
    """A reference on the page, if that is in use; nothing until it has got one. It asks
    first whether the page is on an LRU list, as none of a balloon is, or broken, and leaves a
    broken one alone."""
    ANY_PAGE = "get_page of any"
    """A reference likewise, also on a broken page."""
    PAGE_EXT = "page_ext_get"
    """rcu_read_lock() while it reads what page_ext says of the page; else nothing."""
    ZONE_LOCK = "zone->lock"
    """Of the zone that it walks. Offlining takes it when the sections are offline, and before it
    does anything to their memmap; nothing else that hotplug does to these waits for it."""
    PGMAP = "get_dev_pagemap"
    """A reference on the map whose page it is."""
    DEVICE_PAGE = "get_page of a device's"
    """A reference on a page of a device, and by that perhaps on its map."""


WAITS_FOR = {
    Holds.ONLINE_MEMS: MEM_HOTPLUG_LOCK,
    Holds.MEM_HOTPLUG: MEM_HOTPLUG_LOCK,
    Holds.DEVICE_HOTPLUG: DEVICE_HOTPLUG_LOCK,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Walker:
    """One kernel function that visits pfns, as two questions about extents."""

    name: str
    """The kernel function's."""
    file: str
    """The kernel source file it is in."""
    reads: Scan
    """Rows of which it reads a struct page, if only to find out what it is."""
    takes: Scan
    """Rows that pass all of its tests: it believes them to be online System RAM."""
    believes: str
    """What it takes such a page for."""
    copies: Scan | None
    """Rows whose memory, not only struct pages, it reads through the linear map."""
    complete: bool
    """Whether its job is to visit every online page."""
    sees: Sees
    """How much what it does with a row depends on; at the least on the row."""
    holds: Holds
    """What it keeps while it uses a page."""
    asks: str
    """``pfn_to_online_page`` or ``pfn_valid``: how mainline looks a page up."""

    @property
    def waits_for(self) -> str | None:
        """The lock with which hotplug keeps it away: it never sees the middle of an operation
        that has that one alone."""
        return WAITS_FOR.get(self.holds)

    def may_run(self, x: Extents) -> bool:
        """Whether hotplug does not hold what it waits for."""
        return self.waits_for not in x.kernel.locks.holder

    @property
    def doc(self) -> str:
        """First line of what it does."""
        return cleandoc(self.reads.__doc__ or "").partition("\n")[0]


WALKERS: Registry[Walker] = Registry("walker")
"""What may be looked for at any instant."""
READERS: Registry[Walker] = Registry("walker that takes time")
"""Those that can be left in the middle, between a look-up and the use of the page."""


ASKED = ("pfn_to_online_page", "pfn_valid")
"""What a walker may look a page up by."""


def walker(
    file: str,
    *,
    believes: str,
    takes: Scan | None = None,
    copies: Scan | None = None,
    complete: bool = False,
    sees: Sees = Sees.SECTION,
    holds: Holds = Holds.NOTHING,
    asks: str = "pfn_to_online_page",
) -> Callable[[Scan], Scan]:
    """Register the decorated function, which says which rows are read.

    Without *takes* the walker believes whatever it reads. It *asks* pfn_to_online_page or
    pfn_valid. One that looks for device pages is no pfn walker, but takes time as these do.
    """
    if asks not in ASKED:
        raise UserError(unknown("predicate that a walker asks", asks, ASKED))

    def register(reads: Scan) -> Scan:
        added = Walker(
            name=reads.__name__,
            file=file,
            reads=reads,
            takes=takes or reads,
            believes=believes,
            copies=copies,
            complete=complete,
            sees=sees,
            holds=holds,
            asks=asks,
        )
        if holds not in (Holds.PGMAP, Holds.DEVICE_PAGE):
            WALKERS.add(added.name, added)
        if holds is not Holds.MEM_HOTPLUG:
            READERS.add(added.name, added)
        return reads

    return register


# Ways to walk that several walkers share. A row counts as soon as one of its pfns does.


def asks_pfn_valid(x: Extents, function: str) -> bool:
    """Whether a kernel function asks pfn_valid() where mainline asks whether pfns are online."""
    return function in x.kernel.rules.asks_pfn_valid


def every_pfn(x: Extents, function: str) -> ExtentMask:
    """Pfns of which kernel *function*, asking pfn_to_online_page() for each, gets a page."""
    return x.pfn_valid if asks_pfn_valid(x, function) else x.online_page


def no_page(x: Extents, function: str) -> ExtentMask:
    """None, of what kernel *function* took to be a page where it still asks pfn_valid()."""
    valid: ExtentMask = x.pfn_valid & asks_pfn_valid(x, function)
    return valid


def every_nth_pfn(x: Extents, nr_pages: int, function: str) -> ExtentMask:
    """Ask every_pfn() for each multiple of *nr_pages*, and read no other page."""
    return every_pfn(x, function) & x.holds_multiple_of(nr_pages)


def first_pfn_decides(x: Extents, nr_pages: int, function: str) -> ExtentMask:
    """Rows in aligned blocks of *nr_pages* of whose first pfn alone every_pfn() is asked.

    ```
    block     |----------------|----------------|
    asked      ^                ^
    rows      [ online ][ hole ][ hole          ]
    read       yes       yes     no
    ```
    """
    asked = every_pfn(x, function)
    first = x.start_pfn // nr_pages * nr_pages
    return every_nth_pfn(x, nr_pages, function) | asked[x.row_of(first)]


def every_pfn_of_zones(x: Extents, function: str) -> ExtentMask:
    """every_pfn() in the spans of populated zones."""
    key = f"every_pfn_of_zones {asks_pfn_valid(x, function)}"
    return x.remember(key, lambda: every_pfn(x, function) & in_zone_span(x))


def pages_of_zones(x: Extents, function: str) -> ExtentMask:
    """Those of every_pfn_of_zones() whose page links to the zone being walked."""
    key = f"pages_of_zones {asks_pfn_valid(x, function)}"
    return x.remember(key, lambda: every_pfn(x, function) & page_zone_is_walked(x))


@dataclass(frozen=True, slots=True)
class ZoneSpans:
    """``for_each_populated_zone()``: every row against every zone with present pages.

    Arrays have shape (nr_zones, nr_extents), or (nr_zones, 1) for the spans themselves.
    ZONE_DEVICE never has present pages.
    """

    start_pfn: Pfns
    end_pfn: Pfns
    low: Pfns
    """First pfn of the row's part in the span."""
    high: Pfns
    """Pfn behind the last of that part; not above *low* if there is none."""
    links: ExtentMask
    """``page_zone(page) == zone``. Poison names no zone, garbage may name any."""
    number: Pfns
    """Row of ``zone_numbers``, of shape (nr_zones,)."""

    @property
    def inside(self) -> ExtentMask:
        """Whether some of the row is in the span."""
        return self.low < self.high


@lru_cache(maxsize=1)
def zone_spans(x: Extents) -> ZoneSpans:
    """The populated zones of all nodes, computed once a view."""
    zones = [
        (nid, zone_type, zone.zone_start_pfn, zone.span.end_pfn)
        for nid, node in x.kernel.nodes.items()
        for zone_type, zone in enumerate(node.zones)
        if zone.present_pages
    ]
    nid, zone_type, start, end = np.array(zones, np.int64).reshape(-1, 4).T[:, :, np.newaxis]
    named = (x.zone == zone_type) & (x.nid == nid) & ~x.poisoned
    low, high = np.maximum(x.start_pfn, start), np.minimum(x.end_pfn, end)
    number = (nid * NR_ZONES + zone_type)[:, 0]
    return ZoneSpans(start, end, low, high, named | x.says_anything, number)


def in_zone_span(x: Extents) -> ExtentMask:
    """Rows in the span of a populated zone."""
    return x.remember("in_zone_span", lambda: in_some(zone_spans(x).inside))


def in_some(rows: ExtentMask) -> ExtentMask:
    """Rows where (n, nr_extents) holds for some of the n."""
    some: ExtentMask = np.logical_or.reduce(rows, axis=0)
    return some


def page_zone_is_walked(x: Extents) -> ExtentMask:
    """``page_zone(page) == zone``, of those who walk the spans of populated zones."""

    def compute() -> ExtentMask:
        zones = zone_spans(x)
        return in_some(zones.inside & zones.links)

    return x.remember("page_zone_is_walked", compute)


def visits(x: Extents, nr_pages: int, offset: int | None = None) -> ExtentMask:
    """Rows that a walk through populated zones by *nr_pages* at a time lands in.

    It visits the pfns of each span that are *offset* modulo *nr_pages*, or that are
    so many steps behind the first pfn of the span if there is no *offset*.
    """
    zones = zone_spans(x)
    origin = zones.start_pfn if offset is None else offset
    landing = origin - (origin - zones.low) // nr_pages * nr_pages
    return in_some(zones.inside & (landing < zones.high))


@dataclass(frozen=True, slots=True)
class Pageblocks:
    """Pageblocks of populated zones, cut at the zone's ends, with rows they touch.

    ```
    zone         |-----------------------------------|
    pageblock |--------|--------|--------|--------|--------|
    row                     [                ]
    kept               |--------|--------|--------|
    ```

    Of the pageblocks that a row touches three differ: the one it starts in, the one it
    ends in, and the first to start inside, which stands for those that it fills. All
    arrays have shape (3, nr_touching), where a row counts once for each zone it is in.
    """

    nr_extents: int
    row: Pfns
    """The row that the pageblock touches, of shape (nr_touching,)."""
    first: Pfns
    """The row of the pageblock's first pfn."""
    last: Pfns
    """The row of its last pfn."""
    first_links: ExtentMask
    """Whether its first page links to the zone."""
    last_links: ExtentMask
    """Whether its last page does."""
    tested: ExtentMask
    """Whether the zone may have holes, as far as it is known, of shape (nr_touching,)."""

    def rows(self, walked: ExtentMask) -> ExtentMask:
        """Rows that one of the *walked* pageblocks touches."""
        rows = np.zeros(self.nr_extents, bool)
        rows[self.row[walked.any(axis=0)]] = True
        return rows


@lru_cache(maxsize=1)
def pageblocks(x: Extents) -> Pageblocks:
    """The pageblocks of populated zones, computed once a view."""
    zones, size = zone_spans(x), x.geometry.pageblock_nr_pages
    zone, row = zones.inside.nonzero()
    low, behind = zones.low[zone, row], zones.high[zone, row] - 1
    inner = np.minimum(-(-low // size) * size, behind)
    start = np.stack((low, behind, inner)) // size * size
    first = x.row_of(np.maximum(start, zones.start_pfn[zone, 0]))
    last = x.row_of(np.minimum(start + size, zones.end_pfn[zone, 0]) - 1)
    links, tested = zones.links, ~contiguous_zones(x.kernel).ravel()[zones.number[zone]]
    return Pageblocks(
        len(x.start_pfn), row, first, last, links[zone, first], links[zone, last], tested
    )


# Tests that several walkers share


def page_is_held(x: Extents) -> ExtentMask:
    """``page_count() != 0``, and so get_page_unless_zero(). Poison counts as -1."""

    def compute() -> ExtentMask:
        unknown = x.poisoned | x.says_anything
        held: ExtentMask = (x.refcount > 0) | unknown
        return held

    return x.remember("page_is_held", compute)


def page_reserved(x: Extents) -> ExtentMask:
    """``PageReserved()``; poison has every flag set."""

    def compute() -> ExtentMask:
        flagged = x.page_has(PageFlag.PG_reserved)
        reserved: ExtentMask = flagged | x.poisoned
        return reserved

    return x.remember("page_reserved", compute)


def page_offline(x: Extents) -> ExtentMask:
    """``PageOffline()``, a page type: poison has none."""
    return x.remember("page_offline", lambda: x.page_has(PageFlag.PG_offline))


def page_hwpoison(x: Extents) -> ExtentMask:
    """``PageHWPoison()``; poison has it set, too."""

    def compute() -> ExtentMask:
        marked = x.page_has(PageFlag.PG_hwpoison)
        rows: ExtentMask = marked | x.poisoned
        return rows

    return x.remember("page_hwpoison", compute)


def pfn_valid_within(x: Extents) -> ExtentMask:
    """``pfn_valid_within()``: always true but where a zone may have holes in a pageblock.

    Source: include/linux/mmzone.h, while there was CONFIG_HOLES_IN_ZONE.
    """
    if x.kernel.layout.holes_in_zone:
        return x.pfn_valid
    return x.remember("pfn_valid_within", lambda: np.ones(len(x.start_pfn), bool))


def in_hotplugged_block(x: Extents) -> ExtentMask:
    """Rows in memory blocks that were added after boot."""

    def compute() -> ExtentMask:
        early = x.section_has(SectionFlag.IS_EARLY)
        rows: ExtentMask = x.has_block & ~early
        return rows

    return x.remember("in_hotplugged_block", compute)
