"""mm/huge_memory.c: splitting transparent huge pages."""

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


def held(x: Extents) -> ExtentMask:
    """Pages of the zone of which a reference could be taken."""
    return pages_of_zones(x, "split_huge_pages_all") & page_is_held(x)


@walker(
    "mm/huge_memory.c",
    believes="a huge page of the zone, if it is a head",
    takes=held,
    holds=Holds.ANY_PAGE,
    sees=Sees.ROW,
)
def split_huge_pages_all(x: Extents) -> ExtentMask:
    """Takes a reference on every page of every zone, then asks for its zone.

    # Simplified: PageHead and PageLRU are not modelled, so every held page counts as
    taken; a zone with present pages has managed ones.

    Source: split_huge_pages_all().
    """
    return every_pfn_of_zones(x, "split_huge_pages_all")
