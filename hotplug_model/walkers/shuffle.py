"""mm/shuffle.c: shuffling the free lists of a zone."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents, Sees
from hotplug_model.walkers.walker import (
    Holds,
    every_pfn,
    page_is_held,
    page_zone_is_walked,
    visits,
    walker,
)


def swappable(x: Extents) -> ExtentMask:
    """Pages of the zone that nobody holds."""
    return shuffle_valid_page(x) & page_zone_is_walked(x) & ~page_is_held(x)


@walker(
    "mm/shuffle.c",
    believes="a free chunk of the largest order",
    takes=swappable,
    holds=Holds.MEM_HOTPLUG,
    sees=Sees.ROW,
)
def shuffle_valid_page(x: Extents) -> ExtentMask:
    """Looks at the first page of each chunk of the largest order of a zone.

    Runs at boot and while memory goes online, with mem_hotplug_lock held for writing.

    # Simplified: PageBuddy and its order are not modelled, so every chunk that begins
    with a page of count 0 counts as free.

    Source: shuffle_valid_page(), __shuffle_zone().
    """
    return x.remember(
        "shuffle_valid_page",
        lambda: visits(x, x.geometry.max_order_nr_pages, 0) & every_pfn(x, "shuffle_valid_page"),
    )
