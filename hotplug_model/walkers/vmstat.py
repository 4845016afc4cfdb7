"""mm/vmstat.c: /proc/pagetypeinfo."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents, Sees
from hotplug_model.walkers.walker import (
    Holds,
    every_pfn,
    page_zone_is_walked,
    visits,
    walker,
)


def counted(x: Extents) -> ExtentMask:
    """Those pages that link to the zone."""
    return pagetypeinfo_showblockcount_print(x) & page_zone_is_walked(x)


@walker(
    "mm/vmstat.c",
    believes="a pageblock of the zone",
    takes=counted,
    holds=Holds.ZONE_LOCK,
    sees=Sees.ROW,
)
def pagetypeinfo_showblockcount_print(x: Extents) -> ExtentMask:
    """Counts the pageblocks of a zone by migratetype, looking at one page of each.

    Source: pagetypeinfo_showblockcount_print(); commit 2d070eab2e82 (in v4.13).
    """
    asked = every_pfn(x, "pagetypeinfo_showblockcount_print")
    return x.remember(
        "pagetypeinfo_showblockcount_print",
        lambda: visits(x, x.geometry.pageblock_nr_pages) & asked,
    )
