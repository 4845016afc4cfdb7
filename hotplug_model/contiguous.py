"""Which zones have no hole, so that compaction looks at their pageblocks without a test.

``zone->contiguous`` is a cache of what a test of every pageblock once found. A proposal of 2026
compares two numbers instead; see :mod:`hotplug_model.changes.proposal_zone_contiguous`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import ZoneType
from hotplug_model.state.zone import CONTIGUOUS, ONLINE_MEMMAP, PRESENT, SPANNED, START

if TYPE_CHECKING:
    from hotplug_model.kernel import Kernel
    from hotplug_model.pfn import PfnRange

TEST = "__pageblock_pfn_to_page"
"""The kernel function that tests a pageblock."""


def contiguous_zones(kernel: Kernel) -> NDArray[np.bool_]:
    """(nr_nodes, nr_zones): where pageblock_pfn_to_page() skips its test.

    Source: pageblock_pfn_to_page(), mm/internal.h; commit 7cf91a98e607 ("mm/compaction: speed up
    pageblock_pfn_to_page() when zone is contiguous") (in v4.6).
    """
    cells = kernel.nodes.zone_cells
    spanned = cells[:, :, SPANNED]
    scanned = kernel.rules.zone_contiguous == "scanned"
    known = cells[:, :, CONTIGUOUS] != 0 if scanned else cells[:, :, ONLINE_MEMMAP] == spanned
    return np.asarray(known & (spanned > 0))


def in_contiguous_zone(x: Extents) -> ExtentMask:
    """Rows in the span of a populated zone where pageblock_pfn_to_page() skips its test."""
    cells = x.zone_numbers[contiguous_zones(x.kernel).ravel()]
    cells = cells[cells[:, PRESENT] > 0]
    start, end = cells[:, START, np.newaxis], cells[:, (START, SPANNED)].sum(1)[:, np.newaxis]
    inside = (x.start_pfn < end) & (x.end_pfn > start)
    return np.asarray(inside.any(axis=0))


def clear_zone_contiguous(kernel: Kernel, nid: int, zone_type: ZoneType) -> None:
    """Nobody skips the test any more: the span is about to change.

    Source: clear_zone_contiguous().
    """
    kernel.zone(nid, zone_type).contiguous = 0


def set_zone_contiguous(kernel: Kernel, nid: int, zone_type: ZoneType) -> None:
    """Test every pageblock of a zone once, so that nobody has to from now on.

    Source: set_zone_contiguous().
    """
    if kernel.rules.zone_contiguous == "scanned":
        found = has_no_hole(kernel.extents(), nid, zone_type)
        kernel.zone(nid, zone_type).contiguous = int(found)


def has_no_hole(x: Extents, nid: int, zone_type: ZoneType) -> bool:
    """Whether each pageblock of a zone begins with an online page of it and ends with a valid one;
    an empty zone has no hole.

    Of those that a row touches three differ: see ``Pageblocks`` of the walkers.

    Source: __pageblock_pfn_to_page(); commit 2d070eab2e82 (in v4.13) for the online page.
    """
    span, size = x.kernel.zone(nid, zone_type).span, x.geometry.pageblock_nr_pages
    if span.nr_pages <= 0:
        return True
    inside = slice(x.row_at(span.start_pfn), x.row_at(span.end_pfn - 1) + 1)
    low = x.start_pfn[inside].clip(min=span.start_pfn)
    behind = x.end_pfn[inside].clip(max=span.end_pfn) - 1
    inner = np.minimum(-(-low // size) * size, behind)
    start = np.stack((low, behind, inner)) // size * size
    first = x.row_of(start.clip(min=span.start_pfn))
    last = x.row_of((start + size).clip(max=span.end_pfn) - 1)
    seen = x.pfn_valid if TEST in x.kernel.rules.asks_pfn_valid else x.online_page
    links = ((x.zone == zone_type) & (x.nid == nid) & ~x.poisoned) | x.says_anything
    return bool(((seen & links)[first] & (x.pfn_valid & links)[last]).all())


def boot_contiguous(kernel: Kernel) -> None:
    """What boot finds out about its zones, when all struct pages are set up.

    Source: page_alloc_init_late(); "mm/memory hotplug/unplug: Optimize zone contiguous check when
    changing pfn range", v3, linux-mm, April 2026, for what is counted.
    """
    x = kernel.extents()
    zones = [(nid, zone) for nid in kernel.nodes for zone in ZoneType]
    for nid, zone_type in zones:
        zone = kernel.zone(nid, zone_type)
        if kernel.rules.zone_contiguous != "scanned":
            counted = nr_holes(x, nid, zone_type, zone.span)
            zone.pages_with_online_memmap = zone.present_pages + counted
        elif zone.present_pages:
            zone.contiguous = int(has_no_hole(x, nid, zone_type))


def nr_holes(x: Extents, nid: int, zone_type: ZoneType, span: PfnRange) -> int:
    """Pages of boot holes in a span that link to a zone and that its kernel counts."""
    rows = x.is_boot_hole & (x.zone == zone_type) & (x.nid == nid)
    if x.kernel.rules.zone_contiguous == "counted_populated":
        rows = rows & x.subsection
    parts = x.end_pfn.clip(max=span.end_pfn) - x.start_pfn.clip(min=span.start_pfn)
    return int(parts[rows].clip(min=0).sum())


def forget_holes(kernel: Kernel, nid: int, zone_type: ZoneType, old: PfnRange) -> None:
    """Holes that a zone does not span any more count no more. Those that it comes to span never
    do, so that the count may be too small, which is safe.

    Source: what v3 writes of ``pages_with_online_memmap``; see :func:`boot_contiguous`.
    """
    if kernel.rules.zone_contiguous != "scanned":
        x, zone = kernel.extents(), kernel.zone(nid, zone_type)
        lost = nr_holes(x, nid, zone_type, old) - nr_holes(x, nid, zone_type, zone.span)
        zone.pages_with_online_memmap -= lost
