"""Zones and nodes cover their pages, count them, and let go of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hotplug_model.arrays import ExtentMask, Pfns
from hotplug_model.boot import boot_zones, zone_limits
from hotplug_model.extents import Extents
from hotplug_model.flags import BlockState, ZoneType
from hotplug_model.invariants.invariant import always, broken, law
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange
from hotplug_model.state.ledger import Law
from hotplug_model.state.zone import (
    LISTED,
    MANAGED,
    N_MEMORY,
    PRESENT,
    SPANNED,
    START,
    Zone,
)

ONLINE, OFFLINE = int(BlockState.MEM_ONLINE), int(BlockState.MEM_OFFLINE)


def each_zone(kernel: Kernel) -> Iterator[tuple[int, ZoneType, Zone]]:
    """Every zone of every node."""
    for nid, node in kernel.nodes.items():
        for zone_type, zone in zip(ZoneType, node.zones, strict=True):
            yield nid, zone_type, zone


def linked(x: Extents) -> ExtentMask:
    """Populated, initialised rows, boot holes apart: those that a zone counts."""

    def compute() -> ExtentMask:
        return x.initialised & x.subsection & ~x.is_boot_hole

    return x.remember("linked", compute)


@always()
def zone_spans_cover_their_pages(x: Extents) -> ExtentMask:
    """An online page links to a zone whose span does not cover it.

    Source: resize_zone_range(), shrink_zone_span(), mm/memory_hotplug.c.
    """
    return linked(x) & x.beyond_zone_span & x.section_has_online


def beyond_limits(x: Extents) -> NDArray[np.int64] | None:
    """1 for rows of ZONE_DMA and ZONE_DMA32 that reach beyond what boot knows as their limits;
    None if there are none. Where such a zone has no limit none is beyond it, and before 4.13
    architectures chose zones: powerpc gave all of its memory to ZONE_DMA."""
    if x.kernel.rules.zones_at_add:
        return None
    beyond = np.zeros(len(x.start_pfn), dtype=np.int64)
    for zone_type, limits in zone_limits(x.geometry)[:2]:
        if limits.end_pfn:
            beyond |= (x.zone == int(zone_type)) & (x.end_pfn > limits.end_pfn)
    return beyond if beyond.any() else None


@always(by=beyond_limits)
def zones_keep_below_their_limits(x: Extents) -> ExtentMask:
    """An online page of ZONE_DMA or ZONE_DMA32 lies where those it is meant for cannot reach.

    Source: enum zone_type, include/linux/mmzone.h; commit 7cf209ba8a86 ("mm/memory_hotplug:
    use "unsigned long" for PFN in zone_for_pfn_range()") (in v5.15).
    """
    beyond = beyond_limits(x)
    if beyond is None:
        return np.zeros(len(x.start_pfn), dtype=np.bool_)
    rows: ExtentMask = (beyond != 0) & x.is_online_ram
    return rows


@always(quiescent=True)
def offline_memory_is_in_no_zone(x: Extents) -> ExtentMask:
    """A page of a memory block that is offline still links to a zone.

    Before 5.5 zones kept what went offline.

    Source: remove_pfn_range_from_zone(), mhp_deinit_memmap_on_memory(); commit feee6b298916
    ("mm/memory_hotplug: shrink zones when offlining memory") (in v5.5).
    """
    lets_go = x.kernel.rules.remove_pfn_range_from_zone_at_offline
    rows: ExtentMask = linked(x) & ~x.is_zone_device & (x.block == OFFLINE) & lets_go
    return rows


@always(quiescent=True)
def device_spans_cover_their_pages(x: Extents) -> ExtentMask:
    """A ZONE_DEVICE page lies outside the span of its zone.

    Source: move_pfn_range_to_zone(), mm/memory_hotplug.c.
    """
    return linked(x) & x.beyond_zone_span & x.is_zone_device


@law(reads="pfns blocks", quiescent=True)
def memory_blocks_know_their_zone(x: Extents) -> list[PfnRange]:
    """A memory block believes that it is in another zone than its pages, or in one while offline.

    Before 5.5 zones kept what went offline.

    Source: memory_block_online(), memory_block_offline(); commit 395f6081bad4
    ("drivers/base/memory: determine and store zone for single-zone memory blocks") (in v5.18).
    """
    kernel, wrong = x.kernel, []
    lets_go = kernel.rules.remove_pfn_range_from_zone_at_offline
    for block_id, block in kernel.blocks.items():
        if block.state == ONLINE:
            rows = x.touched([kernel.block_pfns(block_id)]) & x.subsection & ~x.is_zone_device
            zones = {*zip(x.nid[rows].tolist(), x.zone[rows].tolist(), strict=True)}
            alone = zones.pop()[1] if len(zones) == 1 else None
            right = block.zone == alone or not x.initialised[rows].all()
        else:
            right = block.zone is None or not lets_go
        wrong += [] if right else [kernel.block_pfns(block_id)]
    return wrong


def buddy_chunks(x: Extents) -> NDArray[np.int64]:
    """1 for rows that hold the first pfn of a buddy chunk of the largest order."""
    return x.holds_multiple_of(x.geometry.max_order_nr_pages).astype(np.int64)


@always(by=buddy_chunks)
def zones_of_blocks_are_not_read_blind(x: Extents) -> ExtentMask:
    """The zone of an online memory block is read from a struct page that is not initialised.

    Source: test_pages_in_a_zone(), mm/memory_hotplug.c, for valid_zones_show(); commit
    395f6081bad4 ("drivers/base/memory: determine and store zone for single-zone memory
    blocks") (in v5.18).
    """
    if x.kernel.rules.block_zone_is_cached:
        return np.zeros(len(x.start_pfn), bool)
    asked = x.holds_multiple_of(x.geometry.max_order_nr_pages) & x.pfn_valid
    return x.in_online_block & asked & ~x.initialised


@law(reads="nodes", quiescent=True)
def fallback_lists_name_nodes_with_memory(x: Extents) -> list[PfnRange]:
    """A node without memory is in the fallback lists of others, or one with memory is not.

    Source: node_states_clear_node(), build_all_zonelists(), as offline_pages() calls them;
    online_pages().
    """
    cells = x.kernel.nodes.node_cells
    present = cells[:, PRESENT] > 0
    right = (cells[:, LISTED] == present).all() and (cells[:, N_MEMORY] == present).all()
    return [] if right else [x.geometry.all_pfns]


@law(reads="nodes")
def node_spans_cover_their_zones(x: Extents) -> list[PfnRange]:
    """A node's span does not cover one of its zones.

    Source: resize_pgdat_range(), update_pgdat_span(), mm/memory_hotplug.c.
    """
    zones, nodes = x.kernel.nodes.zone_cells, x.kernel.nodes.node_cells[:, np.newaxis]
    start, spanned = zones[:, :, START], zones[:, :, SPANNED]
    end = nodes[:, :, START] + nodes[:, :, SPANNED]
    wrong = (spanned > 0) & ((start < nodes[:, :, START]) | (start + spanned > end))
    if not wrong.any():
        return []
    return [x.kernel.nodes[nid].zones[index].span for nid, index in np.argwhere(wrong).tolist()]


@law(reads="pfns nodes", quiescent=True)
def zone_spans_shrink(x: Extents) -> list[PfnRange]:
    """A zone spans memory beyond its last page, though it gave that memory up.

    An edge must lie in a block that is online, or be the one that boot drew in a hole.
    ZONE_DEVICE is exempt: it never shrinks.

    Source: commit feee6b298916 ("mm/memory_hotplug: shrink zones when offlining
    memory") (in v5.5); shrink_zone_span().
    """
    online = x.in_online_block
    slack: list[PfnRange] = []
    for nid, zone_type, zone in each_zone(x.kernel):
        if zone_type == ZoneType.ZONE_DEVICE or not zone.spanned_pages:
            continue
        edges = np.array([zone.span.start_pfn, zone.span.end_pfn - 1])
        rows = x.row_of(edges)
        if not online[rows].all() and not boot_drew_it(x, nid, zone_type, edges[~online[rows]]):
            slack.append(zone.span)
    return slack


def boot_drew_it(x: Extents, nid: int, zone_type: ZoneType, edges: Pfns) -> bool:
    """Whether these edges of a zone are those of boot, where no block is."""
    if (x.block[x.row_of(edges)] != BlockState.NONE).any():
        return False
    drawn = {
        edge
        for name, pfns, _ in boot_zones(x.geometry, x.kernel.layout, nid)
        if name == zone_type
        for edge in (pfns.start_pfn, pfns.end_pfn - 1)
    }
    return drawn.issuperset(edges.tolist())


@law(reads="nodes", quiescent=True)
def node_spans_shrink(x: Extents) -> list[PfnRange]:
    """A node spans more than the hull of its zones.

    Source: update_pgdat_span(), mm/memory_hotplug.c.
    """
    wide: list[PfnRange] = []
    for node in x.kernel.nodes.values():
        spans = [zone.span for zone in node.zones if zone.spanned_pages]
        hull = PfnRange(
            min((span.start_pfn for span in spans), default=0),
            max((span.end_pfn for span in spans), default=0),
        )
        if node.span != hull and node.span.contains(hull):
            wide.append(node.span)
    return wide


@law(reads="pfns nodes", quiescent=True)
def present_pages_add_up(x: Extents) -> list[PfnRange]:
    """present_pages of a zone is not the number of its online pages.

    Source: adjust_present_page_count(), mm/memory_hotplug.c.
    """
    rows = linked(x) & x.in_online_block & ~x.is_zone_device
    nr_zones = len(x.zone_numbers)
    counted = np.bincount(x.zone_index[rows], x.nr_pages[rows], nr_zones).astype(np.int64)
    return spans(x, counted != x.zone_numbers[:, PRESENT])


@law(reads="nodes")
def nodes_count_what_their_zones_count(x: Extents) -> list[PfnRange]:
    """node_present_pages is not the sum of its zones'.

    Source: adjust_present_page_count(), mm/memory_hotplug.c.
    """
    nodes = x.kernel.nodes
    present = nodes.zone_cells[:, :, PRESENT]
    wrong = present.sum(axis=1) != nodes.node_cells[:, PRESENT]
    return [node.span for nid, node in nodes.items() if wrong[nid]]


@law(Law.SUBTRACTED_TWICE, reads="pfns nodes ledger", quiescent=True)
def managed_pages_add_up(x: Extents) -> list[PfnRange]:
    """managed_pages of a zone is not the number of pages that its buddy allocator was given.

    Each of them is present, and what is present is spanned: with present_pages_add_up and
    zone_spans_cover_their_pages that makes managed <= present <= spanned.

    Source: __free_pages_core(), adjust_managed_page_count(), mm/page_alloc.c.
    """
    rows = x.is_managed
    nr_zones = len(x.zone_numbers)
    counted = np.bincount(x.zone_index[rows], x.nr_pages[rows], nr_zones).astype(np.int64)
    uncounted = x.kernel.ledger.uncounted
    counted -= [uncounted[nid, zone] for nid, zone, _ in each_zone(x.kernel)]
    wrong = spans(x, counted != x.zone_numbers[:, MANAGED])
    return sorted({*wrong, *broken(x, Law.SUBTRACTED_TWICE)})


def spans(x: Extents, zones: NDArray[np.bool_]) -> list[PfnRange]:
    """Where the zones span, of which *zones* is true."""
    every = [zone for _, _, zone in each_zone(x.kernel)]
    return [every[index].span for index in np.flatnonzero(zones)]
