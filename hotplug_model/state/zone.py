"""Zones and nodes: ``struct zone`` and ``pg_data_t`` (include/linux/mmzone.h).

Their numbers live in two arrays, so that laws over all zones are single expressions and
a snapshot is one copy; :class:`Zone` and :class:`Node` are views that name them.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from hotplug_model.flags import ZoneType
from hotplug_model.pfn import PfnRange

START, SPANNED, PRESENT, MANAGED, ONLINE_MEMMAP, CONTIGUOUS = range(6)
N_MEMORY, LISTED = range(PRESENT + 1, PRESENT + 3)
"""What a node has where a zone has ``managed_pages``, and behind that."""


def _field(index: int, doc: str) -> property:
    def get(self: Zone | Node) -> int:
        return int(self.cells[index])

    def put(self: Zone | Node, value: int) -> None:
        self.cells[index] = value

    return property(get, put, doc=doc)


class Zone:
    """One zone of one node. Counts are pages."""

    __slots__ = ("cells",)

    def __init__(self, cells: NDArray[np.int64]) -> None:
        self.cells = cells

    zone_start_pfn = _field(START, "First pfn of the span; 0 if it is empty.")
    spanned_pages = _field(SPANNED, "Length of the span.")
    present_pages = _field(PRESENT, "Pages that are online.")
    managed_pages = _field(MANAGED, "Pages that the buddy allocator was given.")
    pages_with_online_memmap = _field(
        ONLINE_MEMMAP, "Pages of it that may be looked at, where a kernel counts them; else 0."
    )
    contiguous = _field(CONTIGUOUS, "1 if a look at all of its pageblocks found no hole; else 0.")

    @property
    def span(self) -> PfnRange:
        """``[zone_start_pfn, zone_end_pfn())``."""
        start, spanned = self.cells[:PRESENT].tolist()
        return PfnRange(start, start + spanned)

    def intersects(self, pfns: PfnRange) -> bool:
        """``zone_intersects()``."""
        return bool(self.cells[SPANNED] > 0) and self.span.overlaps(pfns)


class Node:
    """``pg_data_t``. Counts are pages; *zones* has one entry per :class:`ZoneType`."""

    __slots__ = ("cells", "nid", "zones")

    def __init__(self, nid: int, cells: NDArray[np.int64], zones: NDArray[np.int64]) -> None:
        self.nid = nid
        self.cells = cells
        self.zones = tuple(Zone(row) for row in zones)

    node_start_pfn = _field(START, "First pfn of the span; 0 if it is empty.")
    node_spanned_pages = _field(SPANNED, "Length of the span.")
    node_present_pages = _field(PRESENT, "Pages that are online.")
    n_memory = _field(N_MEMORY, "1 if ``node_state(nid, N_MEMORY)``.")
    listed = _field(LISTED, "1 if the fallback lists of all nodes name it.")

    @property
    def span(self) -> PfnRange:
        """``[node_start_pfn, pgdat_end_pfn())``."""
        start, spanned = self.cells[:PRESENT].tolist()
        return PfnRange(start, start + spanned)


class Nodes(dict[int, Node]):
    """Every possible node by nid, and the numbers of all of them as arrays."""

    def __init__(self, nodes: NDArray[np.int64], zones: NDArray[np.int64]) -> None:
        self.node_cells = nodes
        """(nr_nodes, 5): start, spanned, present, whether it has N_MEMORY and is listed."""
        self.zone_cells = zones
        """(nr_nodes, nr_zones, 6): start, spanned, present, managed, pages_with_online_memmap,
        contiguous."""
        super().__init__(
            (nid, Node(nid, cells, zones[nid])) for nid, cells in enumerate(nodes)
        )

    @classmethod
    def empty(cls, nr_nodes: int) -> Self:
        """Nodes without memory."""
        zones = np.zeros((nr_nodes, len(ZoneType), CONTIGUOUS + 1), np.int64)
        return cls(np.zeros((nr_nodes, LISTED + 1), np.int64), zones)

    def build_all_zonelists(self) -> None:
        """Fallback lists name the nodes that have N_MEMORY now.

        Source: build_zonelists(), find_next_best_node(), mm/page_alloc.c.
        """
        self.node_cells[:, LISTED] = self.node_cells[:, N_MEMORY]

    def copy(self) -> Self:
        """An independent copy."""
        return type(self)(self.node_cells.copy(), self.zone_cells.copy())

    def fingerprint(self) -> bytes:
        """The same for equal numbers; what is known of an empty zone is forgotten when it grows."""
        known = self.zone_cells[:, :, CONTIGUOUS] * (self.zone_cells[:, :, SPANNED] > 0)
        numbers = self.zone_cells[:, :, :CONTIGUOUS]
        return self.node_cells.tobytes() + numbers.tobytes() + known.tobytes()
