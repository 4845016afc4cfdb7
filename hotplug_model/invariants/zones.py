"""Zones and nodes cover their pages, count them, and let go of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import BlockState, ZoneType
from hotplug_model.invariants.invariant import always, law
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange
from hotplug_model.state.zone import Zone


def each_zone(kernel: Kernel) -> Iterator[tuple[int, ZoneType, Zone]]:
    """Every zone of every node."""
    for nid, node in kernel.nodes.items():
        for zone_type, zone in zip(ZoneType, node.zones, strict=True):
            yield nid, zone_type, zone


def linked(x: Extents, nid: int, zone_type: ZoneType) -> ExtentMask:
    """Populated, initialised rows, boot holes apart, whose pages link to the zone."""
    populated = x.initialised & x.subsection & ~x.is_boot_hole
    rows: ExtentMask = populated & (x.zone == zone_type) & (x.nid == nid)
    return rows


@always(local=False)
def zone_spans_cover_their_pages(x: Extents) -> ExtentMask:
    """A page links to a zone whose span does not cover it.

    Source: resize_zone_range(), shrink_zone_span(), mm/memory_hotplug.c.
    """
    outside = np.zeros(len(x.start_pfn), bool)
    for nid, zone_type, zone in each_zone(x.kernel):
        span = zone.span
        beyond = (x.start_pfn < span.start_pfn) | (x.end_pfn > span.end_pfn)
        outside |= linked(x, nid, zone_type) & beyond
    return outside


@law()
def node_spans_cover_their_zones(kernel: Kernel) -> list[PfnRange]:
    """A node's span does not cover one of its zones.

    Source: resize_pgdat_range(), update_pgdat_span(), mm/memory_hotplug.c.
    """
    return [
        zone.span
        for nid, _, zone in each_zone(kernel)
        if zone.spanned_pages and not kernel.nodes[nid].span.contains(zone.span)
    ]


@law(quiescent=True)
def zone_spans_shrink(kernel: Kernel) -> list[PfnRange]:
    """A zone spans memory beyond its last page, though it gave that memory up.

    ZONE_DEVICE is exempt: it never shrinks.

    Source: commit feee6b298916 ("mm/memory_hotplug: shrink zones when offlining
    memory") (in v5.5); shrink_zone_span().
    """
    x = kernel.extents()
    gone = (x.block != BlockState.MEM_ONLINE) & ~x.section_has_online
    slack: list[PfnRange] = []
    for nid, zone_type, zone in each_zone(kernel):
        if zone_type == ZoneType.ZONE_DEVICE or not zone.spanned_pages:
            continue
        ends = np.array([zone.span.start_pfn, zone.span.end_pfn - 1], np.int64)
        if gone[x.row_of(ends)].any() or not linked(x, nid, zone_type).any():
            slack.append(zone.span)
    return slack


@law(quiescent=True)
def node_spans_shrink(kernel: Kernel) -> list[PfnRange]:
    """A node spans more than the hull of its zones.

    Source: update_pgdat_span(), mm/memory_hotplug.c.
    """
    wide: list[PfnRange] = []
    for node in kernel.nodes.values():
        spans = [zone.span for zone in node.zones if zone.spanned_pages]
        hull = PfnRange(
            min((span.start_pfn for span in spans), default=0),
            max((span.end_pfn for span in spans), default=0),
        )
        if node.span != hull and node.span.contains(hull):
            wide.append(node.span)
    return wide


@law(quiescent=True)
def present_pages_add_up(kernel: Kernel) -> list[PfnRange]:
    """present_pages of a zone is not the number of its online pages.

    Source: adjust_present_page_count(), mm/memory_hotplug.c.
    """
    x = kernel.extents()
    wrong: list[PfnRange] = []
    for nid, zone_type, zone in each_zone(kernel):
        rows = linked(x, nid, zone_type) & (x.block == BlockState.MEM_ONLINE)
        if zone_type == ZoneType.ZONE_DEVICE:
            rows &= False
        if int(x.nr_pages[rows].sum()) != zone.present_pages:
            wrong.append(zone.span)
    return wrong


@law()
def nodes_count_what_their_zones_count(kernel: Kernel) -> list[PfnRange]:
    """node_present_pages is not the sum of its zones', or managed exceeds present.

    Source: adjust_present_page_count(), mm/memory_hotplug.c.
    """
    wrong = []
    for node in kernel.nodes.values():
        present = sum(zone.present_pages for zone in node.zones)
        managed = any(zone.managed_pages > zone.present_pages for zone in node.zones)
        if present != node.node_present_pages or managed:
            wrong.append(node.span)
    return wrong
