"""mm/memory_hotplug.c, where it looks at pages rather than changes them."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents, Sees
from hotplug_model.walkers.walker import (
    Holds,
    every_nth_pfn,
    first_pfn_decides,
    in_hotplugged_block,
    no_page,
    page_zone_is_walked,
    visits,
    walker,
)


def edge(x: Extents, offset: int) -> ExtentMask:
    """Rows in which a search for a zone's new edge, by subsections, reads a page.

    # Simplified: every edge that could ever be looked for counts, not only the one that
    the next removal moves, and the search does not stop at the first page it finds.
    """
    seen = x.online_page if x.kernel.rules.shrink_asks_online else x.pfn_valid
    return seen & visits(x, x.geometry.pages_per_subsection, offset)


def smallest(x: Extents) -> ExtentMask:
    """Pages that may become a zone's first."""
    return find_smallest_section_pfn(x) & page_zone_is_walked(x)


@walker(
    "mm/memory_hotplug.c",
    believes="the first page that still belongs to the zone",
    takes=smallest,
    holds=Holds.MEM_HOTPLUG,
    sees=Sees.ROW,
)
def find_smallest_section_pfn(x: Extents) -> ExtentMask:
    """Looks at the first page of each subsection for where a zone begins.

    Source: find_smallest_section_pfn().
    """
    return x.remember("find_smallest_section_pfn", lambda: edge(x, 0))


def biggest(x: Extents) -> ExtentMask:
    """Pages that may become a zone's last."""
    return find_biggest_section_pfn(x) & page_zone_is_walked(x)


@walker(
    "mm/memory_hotplug.c",
    believes="the last page that still belongs to the zone",
    takes=biggest,
    holds=Holds.MEM_HOTPLUG,
    sees=Sees.ROW,
)
def find_biggest_section_pfn(x: Extents) -> ExtentMask:
    """Looks at the last page of each subsection for where a zone ends.

    Source: find_biggest_section_pfn().
    """
    return x.remember("find_biggest_section_pfn", lambda: edge(x, -1))


def node_edge(x: Extents) -> ExtentMask:
    """Pages that may become a node's last; a device's node is as good as any."""
    return shrink_pgdat_span(x) & ~x.is_zone_device


@walker(
    "mm/memory_hotplug.c",
    believes="a page that still belongs to the node",
    takes=node_edge,
    holds=Holds.MEM_HOTPLUG,
    sees=Sees.ROW,
)
def shrink_pgdat_span(x: Extents) -> ExtentMask:
    """Looked at the first page of each subsection for where a node ends; reads none today.

    # Simplified: as for the edge of a zone.

    Source: shrink_pgdat_span(); commit 00d6c019b5bc (in v5.4), which asks the zones.
    """
    return no_page(x, "shrink_pgdat_span") & visits(x, x.geometry.pages_per_subsection, 0)


def still_there(x: Extents) -> ExtentMask:
    """Sections that keep a node online; those of a device do, too."""
    return try_offline_node(x) & ~x.is_zone_device


@walker(
    "mm/memory_hotplug.c",
    believes="a section whose first page tells its node",
    takes=still_there,
    holds=Holds.DEVICE_HOTPLUG,
    sees=Sees.ROW,
)
def try_offline_node(x: Extents) -> ExtentMask:
    """Looked at the first page of each section for its node; reads none today.

    Source: try_offline_node(); commit 2c91f8fc6c99 (in v5.4), which asks spans and blocks.
    """
    sections = x.holds_multiple_of(x.geometry.pages_per_section)
    return no_page(x, "try_offline_node") & sections


def movable_or_kernel(x: Extents) -> ExtentMask:
    """Whole sections that are counted for a zone by their first page."""
    sections = first_pfn_decides(x, x.geometry.pages_per_section, "auto_movable_zone_for_pfn")
    return in_hotplugged_block(x) & sections


@walker(
    "mm/memory_hotplug.c",
    believes="a section whose pages are all online in one zone",
    takes=movable_or_kernel,
)
def auto_movable_zone_for_pfn(x: Extents) -> ExtentMask:
    """Looks at the first page of each section of a dynamic memory group for its zone.

    # Simplified: there are no memory groups here; every section that was added after
    boot counts as part of one.

    Who puts a block online holds device_hotplug_lock; who reads in sysfs which zones it could
    go to holds nothing.

    Source: auto_movable_zone_for_pfn(); valid_zones_show() in drivers/base/memory.c.
    """
    firsts = every_nth_pfn(x, x.geometry.pages_per_section, "auto_movable_zone_for_pfn")
    return in_hotplugged_block(x) & firsts


@walker(
    "mm/memory_hotplug.c",
    believes="a page whose zone is that of its memory block",
    holds=Holds.DEVICE_HOTPLUG,
    sees=Sees.ROW,
)
def try_offline_memory_block(x: Extents) -> ExtentMask:
    """Looks at the first page of a memory block, to online it likewise if it must.

    Source: try_offline_memory_block().
    """
    first = every_nth_pfn(x, x.kernel.pages_per_block, "try_offline_memory_block")
    rows: ExtentMask = first & x.has_block
    return rows
