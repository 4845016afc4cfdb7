"""mm/page_idle.c: /sys/kernel/mm/page_idle/bitmap."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents, Sees
from hotplug_model.walkers.walker import Holds, every_pfn, page_is_held, walker


def held(x: Extents) -> ExtentMask:
    """Pages of which a reference could be taken."""
    return every_pfn(x, "page_idle_get_folio") & page_is_held(x)


@walker(
    "mm/page_idle.c",
    believes="a page on an LRU list",
    takes=held,
    holds=Holds.PAGE,
    sees=Sees.ROW,
)
def page_idle_get_folio(x: Extents) -> ExtentMask:
    """Looks at every page in a window of the bitmap for whether user memory is idle.

    # Simplified: PageLRU is not modelled, so every held page counts as taken.

    Source: page_idle_get_folio(), page_idle_get_page() up to 6.1.
    """
    return every_pfn(x, "page_idle_get_folio")
