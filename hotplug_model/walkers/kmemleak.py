"""mm/kmemleak.c: looking for pointers in memory."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents, Sees
from hotplug_model.walkers.walker import (
    Holds,
    every_pfn_of_zones,
    page_is_held,
    pages_of_zones,
    walker,
)


def in_use(x: Extents) -> ExtentMask:
    """Pages of the zone with a count."""
    return pages_of_zones(x, "kmemleak_scan") & page_is_held(x)


@walker(
    "mm/kmemleak.c",
    believes="a struct page in use, which may hold pointers",
    takes=in_use,
    holds=Holds.ONLINE_MEMS,
    sees=Sees.ROW,
)
def kmemleak_scan(x: Extents) -> ExtentMask:
    """Scans the struct page of every page in use of every zone.

    Source: kmemleak_scan(), which holds get_online_mems() meanwhile.
    """
    return every_pfn_of_zones(x, "kmemleak_scan")
