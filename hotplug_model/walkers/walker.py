"""Declaring pfn walkers: kernel code that scans page frame numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc
from typing import TypeAlias

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import ZoneType
from hotplug_model.registry import Registry

Scan: TypeAlias = Callable[[Extents], ExtentMask]


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
    complete: bool
    """Whether its job is to visit every online page."""
    local: bool
    """Whether a row can be judged without its neighbours."""
    waits_for_hotplug: bool
    """Whether it holds mem_hotplug_lock for reading, so that it never sees the middle
    of an operation that holds it for writing."""

    @property
    def doc(self) -> str:
        """First line of what it does."""
        return cleandoc(self.reads.__doc__ or "").partition("\n")[0]


WALKERS: Registry[Walker] = Registry("walker")


def walker(
    file: str,
    *,
    believes: str,
    takes: Scan | None = None,
    complete: bool = False,
    local: bool = True,
    waits_for_hotplug: bool = False,
) -> Callable[[Scan], Scan]:
    """Register the decorated function, which says which rows are read.

    Without *takes* the walker believes whatever it reads.
    """

    def register(reads: Scan) -> Scan:
        WALKERS.add(
            reads.__name__,
            Walker(
                name=reads.__name__,
                file=file,
                reads=reads,
                takes=takes or reads,
                believes=believes,
                complete=complete,
                local=local,
                waits_for_hotplug=waits_for_hotplug,
            ),
        )
        return reads

    return register


# Ways to walk that several walkers share


def every_pfn(x: Extents) -> ExtentMask:
    """Ask pfn_to_online_page() for each pfn; pfn_valid() before commit 2d070eab2e82."""
    return x.online_page if x.kernel.rules.walkers_check_online else x.pfn_valid


def first_pfn_decides(x: Extents, nr_pages: int) -> ExtentMask:
    """Rows in aligned blocks of *nr_pages* of whose first pfn alone every_pfn() is asked.

    ```
    block     |----------------|----------------|
    asked      ^                ^
    rows      [ online ][ hole ][ hole          ]
    read       yes       yes     no
    ```
    """
    asked = every_pfn(x)
    starts_inside = x.holds_multiple_of(nr_pages)
    first = x.start_pfn // nr_pages * nr_pages
    return (starts_inside & asked) | asked[x.row_of(first)]


def in_zone_span(x: Extents, zones: tuple[ZoneType, ...]) -> ExtentMask:
    """Rows in the span of one of *zones* of some node, if it has present pages."""
    inside = np.zeros(len(x.start_pfn), bool)
    for node in x.kernel.nodes.values():
        for zone_type in zones:
            zone = node.zones[zone_type]
            if zone.present_pages:
                span = zone.span
                inside |= (x.start_pfn < span.end_pfn) & (x.end_pfn > span.start_pfn)
    return inside


def links_to_populated_zone(x: Extents) -> ExtentMask:
    """Rows whose page_zone() is a zone with present pages that spans them.

    This is the test ``page_zone(page) == zone`` of those who walk populated zones.
    """
    linked = np.zeros(len(x.start_pfn), bool)
    for nid, node in x.kernel.nodes.items():
        for zone_type in ZoneType:
            zone = node.zones[zone_type]
            if zone.present_pages:
                span = zone.span
                inside = (x.start_pfn < span.end_pfn) & (x.end_pfn > span.start_pfn)
                linked |= inside & (x.zone == zone_type) & (x.nid == nid)
    return linked
