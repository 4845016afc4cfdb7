"""mm/damon/ops-common.c: watching which memory is accessed."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents, Sees
from hotplug_model.walkers.walker import Holds, every_pfn, page_is_held, walker


def held(x: Extents) -> ExtentMask:
    """Pages of which a reference could be taken."""
    return every_pfn(x, "damon_get_folio") & page_is_held(x)


@walker(
    "mm/damon/ops-common.c",
    believes="a page on an LRU list",
    takes=held,
    holds=Holds.ANY_PAGE,
    sees=Sees.ROW,
)
def damon_get_folio(x: Extents) -> ExtentMask:
    """Takes a reference on any page of a region, then asks whether it is on an LRU list.

    # Simplified: PageLRU is not modelled, so every held page counts as taken.

    Source: damon_get_folio(), damon_get_page() up to 6.1.
    """
    return every_pfn(x, "damon_get_folio")
