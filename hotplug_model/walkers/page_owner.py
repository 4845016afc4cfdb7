"""mm/page_owner.c: who allocated which page."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.walkers.walker import (
    Holds,
    asks_pfn_valid,
    every_pfn,
    first_pfn_decides,
    page_is_held,
    page_reserved,
    page_zone_is_walked,
    pageblocks,
    pfn_valid_within,
    walker,
)


def owned(x: Extents) -> ExtentMask:
    """Pages of the zone that are held and not reserved."""
    in_zone = pagetypeinfo_showmixedcount_print(x) & page_zone_is_walked(x)
    return in_zone & page_is_held(x) & ~page_reserved(x)


@walker(
    "mm/page_owner.c",
    believes="an allocated page of the zone",
    takes=owned,
    holds=Holds.PAGE_EXT,
)
def pagetypeinfo_showmixedcount_print(x: Extents) -> ExtentMask:
    """Reads every page of each pageblock of a zone whose first pfn is online.

    # Simplified: where a pageblock is not online the kernel goes on at the next chunk of
    the largest order, and so may leave more pageblocks out. Who allocated a page is not
    modelled, so every held page counts.

    Source: pagetypeinfo_showmixedcount_print(); commit a26ee565b6cd (in v5.4).
    """

    def compute() -> ExtentMask:
        blocks = pageblocks(x)
        asked = every_pfn(x, "pagetypeinfo_showmixedcount_print")
        return blocks.rows(asked[blocks.first]) & pfn_valid_within(x)

    return x.remember("pagetypeinfo_showmixedcount_print", compute)


def allocated(x: Extents) -> ExtentMask:
    """Pages that are held, where page_ext knows of them: it goes when its block goes offline."""
    return x.online_page & page_is_held(x)


@walker(
    "mm/page_owner.c",
    believes="an allocated page",
    takes=allocated,
    holds=Holds.PAGE_EXT,
)
def read_page_owner(x: Extents) -> ExtentMask:
    """Reads every page there is, one allocation after the other.

    No kernel of the model asks pfn_valid() for the first page of each MAX_ORDER_NR_PAGES alone,
    as all do: see ``read-page-owner-asks-pfn-valid``. Poison would be read by that, too, which
    stops nobody: PageBuddy() has no PF_POISONED_CHECK(), and what is offline has no page_ext.

    # Simplified: who reads the file begins at the first page.

    Source: read_page_owner().
    """
    if not asks_pfn_valid(x, "read_page_owner"):
        return x.online_page
    chunks = first_pfn_decides(x, x.geometry.max_order_nr_pages, "read_page_owner")
    return chunks & pfn_valid_within(x) & ~x.poisoned
