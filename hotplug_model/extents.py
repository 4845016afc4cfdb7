"""What the kernel's predicates say, on maximal pfn ranges where nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from hotplug_model.arrays import Column, ExtentMask, Pfns
from hotplug_model.cached import cached_property
from hotplug_model.flags import (
    BlockState,
    LinearMap,
    MemmapOrigin,
    PageContent,
    PageFlag,
    RefState,
    SectionFlag,
    ZoneType,
)
from hotplug_model.pfn import PfnRange, merge_ranges

if TYPE_CHECKING:
    from hotplug_model.kernel import Kernel

# numpy takes a number for what it is, but has to look at an enum member.
INITIALISED, GARBAGE = int(PageContent.INITIALISED), int(PageContent.GARBAGE)
UNUSED, POISONED = int(PageContent.UNUSED), int(PageContent.POISONED)
STALE, ZEROED = int(PageContent.STALE), int(PageContent.ZEROED)
DEVICE, NR_ZONES = int(ZoneType.ZONE_DEVICE), len(ZoneType)
UNMAPPED, TORN = int(LinearMap.NONE), int(LinearMap.TORN)
NO_MEMMAP, NO_BLOCK = int(MemmapOrigin.NONE), int(BlockState.NONE)
MEM_ONLINE = int(BlockState.MEM_ONLINE)


class Sees(IntEnum):
    """How far around a row a walker looks before it judges it."""

    ROW = 0
    """The row, and the zones that span it."""
    SECTION = 1
    """The rows of its pageblock and section, too."""
    ISOLATION = 2
    """Whole ranges that offline_pages() would isolate, and a page beyond either edge."""
    MACHINE = 3
    """More, e.g. whole memory blocks. Such a walker is confined to those that are online
    or about to go offline."""
    NOTHING = 4
    """No walker sees that."""


T = TypeVar("T")


class Extents:
    """One row a run of the pfn table. All columns have shape (nr_extents,).

    A boolean expression over the columns is an invariant's counterexample: the rows
    where it is true, merged, are the ranges that the report prints.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.geometry = kernel.geometry
        self._table = kernel.pfns
        self._memo: dict[Hashable, object] = {}
        self.asks = Sees.ROW
        """Walkers that see less are not asked, because their verdicts are known."""
        self.rows_are_known = False
        """Whether what each row holds was judged sound before, wherever that was."""

    def remember(self, name: Hashable, compute: Callable[[], T]) -> T:
        """What *compute* returns, asked once a view."""
        if name not in self._memo:
            self._memo[name] = compute()
        return cast(T, self._memo[name])

    def asks_of(self, sees: Sees) -> bool:
        """Whether a question is open whose answer depends on so much: on a row, or on what
        some walkers see."""
        return not self.rows_are_known if sees == Sees.ROW else self.asks <= sees

    # What is stored

    @cached_property
    def start_pfn(self) -> Pfns:
        """First pfn of each row."""
        return self._table.start_pfn

    @cached_property
    def end_pfn(self) -> Pfns:
        """Pfn behind the last of each row."""
        return self._table.end_pfn

    @cached_property
    def nr_pages(self) -> Pfns:
        """Pages in each row."""
        return self.end_pfn - self.start_pfn

    @cached_property
    def cells(self) -> Column:
        """(nr_extents, nr_columns): every stored column."""
        return self._table.cells

    @cached_property
    def section_flags(self) -> Column:
        """:class:`SectionFlag` bits of the row's section."""
        return self._table.column("section_flags")

    @cached_property
    def subsection(self) -> ExtentMask:
        """Whether the subsection map has the row's bit."""
        rows: ExtentMask = self._table.column("subsection") != 0
        return rows

    @cached_property
    def memmap(self) -> Column:
        """:class:`MemmapOrigin` of the struct pages."""
        return self._table.column("memmap")

    @cached_property
    def content(self) -> Column:
        """:class:`PageContent` of the struct pages."""
        return self._table.column("content")

    @cached_property
    def zone(self) -> Column:
        """``page_zonenum()``; meaningful where initialised or stale."""
        return self._table.column("zone")

    @cached_property
    def nid(self) -> Column:
        """``page_to_nid()``; meaningful where initialised or stale."""
        return self._table.column("nid")

    @cached_property
    def page_flags(self) -> Column:
        """:class:`PageFlag` bits."""
        return self._table.column("page_flags")

    @cached_property
    def refcount(self) -> Column:
        """``page_count()``, as far as hotplug and pins decide it."""
        return self._table.column("refcount")

    @cached_property
    def page_pgmap(self) -> Column:
        """Id of the map that ``page->pgmap`` points to, -1 if none."""
        return self._table.column("page_pgmap")

    @cached_property
    def pgmap_array(self) -> Column:
        """Id of the map stored in ``pgmap_array``, -1 if none."""
        return self._table.column("pgmap_array")

    @cached_property
    def block(self) -> Column:
        """:class:`BlockState` of the memory block."""
        return self._table.column("block")

    @cached_property
    def memory(self) -> Column:
        """:class:`MemoryClass` of what the pfn was added as."""
        return self._table.column("memory")

    @cached_property
    def linear_map(self) -> Column:
        """:class:`LinearMap`: whether the linear map covers the pfn, and why if it should not."""
        return self._table.column("linear_map")

    @cached_property
    def users(self) -> Column:
        """:class:`PageUser` bits: who uses the page, and who took a reference on it."""
        return self._table.column("users")

    # What follows from it

    @cached_property
    def kernel_page_present(self) -> ExtentMask:
        """``kernel_page_present()``: whether the CPU finds the page, in the linear map or,
        where there is high memory, by kmap()."""
        rows: ExtentMask = (self.linear_map != UNMAPPED) & (self.linear_map != TORN)
        return rows

    @cached_property
    def nr_references(self) -> Column:
        """References that users took on the page and still have."""
        counts: Column = np.zeros(len(self.users), np.int32)
        for bit in (1, 2, 4, 8):
            counts += (self.users & bit) != 0
        return counts

    @cached_property
    def mapped(self) -> ExtentMask:
        """Whether the struct page can be read without a fault."""
        rows: ExtentMask = self.memmap != NO_MEMMAP
        return rows

    @cached_property
    def initialised(self) -> ExtentMask:
        """Whether the struct page says what its current owner wrote."""
        rows: ExtentMask = self.content == INITIALISED
        return rows

    @cached_property
    def says_anything(self) -> ExtentMask:
        """Whether the struct page holds bytes that nobody meant for one."""
        rows: ExtentMask = (self.content == GARBAGE) | (self.content == UNUSED)
        return rows

    @cached_property
    def is_zone_device(self) -> ExtentMask:
        """Whether the struct page is initialised and links to ZONE_DEVICE."""
        rows: ExtentMask = self.initialised & (self.zone == DEVICE)
        return rows

    @cached_property
    def section_has_online(self) -> ExtentMask:
        """Whether the row's section is online."""
        return self.section_has(SectionFlag.IS_ONLINE)

    @cached_property
    def has_mem_map(self) -> ExtentMask:
        """Whether the row's section is valid."""
        return self.section_has(SectionFlag.HAS_MEM_MAP)

    @cached_property
    def is_early(self) -> ExtentMask:
        """Whether the row's section dates from boot."""
        return self.section_has(SectionFlag.IS_EARLY)

    @cached_property
    def is_tainted(self) -> ExtentMask:
        """Whether device memory shares the row's section, or once did."""
        return self.section_has(SectionFlag.TAINT_ZONE_DEVICE)

    def section_has(self, flags: SectionFlag) -> ExtentMask:
        """Whether all of *flags* are set in the row's section."""
        bits = int(flags)
        rows: ExtentMask = (self.section_flags & bits) == bits
        return rows

    def page_has(self, flags: PageFlag) -> ExtentMask:
        """Whether some of *flags* are set in the struct page, whatever that is."""
        rows: ExtentMask = (self.page_flags & int(flags)) != 0
        return rows

    @cached_property
    def poisoned(self) -> ExtentMask:
        """Whether the struct page is poison, which nobody may read."""
        rows: ExtentMask = self.content == POISONED
        return rows

    @cached_property
    def stale(self) -> ExtentMask:
        """Whether the struct page is still that of an owner who is gone."""
        rows: ExtentMask = self.content == STALE
        return rows

    @cached_property
    def has_block(self) -> ExtentMask:
        """Whether the row lies in a memory block, whatever its state."""
        rows: ExtentMask = self.block != NO_BLOCK
        return rows

    @cached_property
    def in_online_block(self) -> ExtentMask:
        """Whether the row's memory block is MEM_ONLINE."""
        rows: ExtentMask = self.block == MEM_ONLINE
        return rows

    @cached_property
    def pfn_in_present_section(self) -> ExtentMask:
        """``pfn_in_present_section()``: MARKED_PRESENT only (5.8 and later)."""
        return self.section_has(SectionFlag.MARKED_PRESENT)

    @cached_property
    def pfn_section_valid(self) -> ExtentMask:
        """``pfn_section_valid()``: the subsection bit, where there is a usage map."""
        return self.subsection & self.section_has(SectionFlag.USAGE)

    @cached_property
    def pfn_valid(self) -> ExtentMask:
        """``pfn_valid()``: early sections answer for all of their subsections.

        An architecture with holes in a zone knows better: its boot holes are invalid. Until
        commit eeb0753ba27b (in v5.12) arm64 granted what memblock has, so no device.

        Source: include/linux/mmzone.h; pfn_valid(), arch/arm64/mm/init.c before v5.14.
        """
        early = self.is_early
        valid = self.has_mem_map & (early | self.pfn_section_valid)
        if self.kernel.layout.holes_in_zone:
            valid &= ~(early & (self.content == ZEROED))
        if self.kernel.rules.arm64_pfn_valid_asks_memblock and self.geometry.arch == "arm64":
            valid &= ~(self.is_boot_hole | self.is_zone_device | (self.pgmap_array >= 0))
        return valid

    @cached_property
    def dev_pagemap(self) -> Column:
        """Id of the map that ``get_dev_pagemap()`` returns, -1 if NULL.

        A map whose reference is killed is not returned, though still in the array.
        """
        pgmaps = self.kernel.pgmaps
        highest = max(max(pgmaps, default=0), int(self.pgmap_array.max()))
        live = np.zeros(highest + 2, bool)
        for pgmap_id, pgmap in pgmaps.items():
            live[pgmap_id + 1] = pgmap.ref == RefState.LIVE
        # Index 0 stands for -1: nothing in the array.
        return np.where(live[self.pgmap_array + 1], self.pgmap_array, -1).astype(np.int32)

    @cached_property
    def online_page(self) -> ExtentMask:
        """Whether ``pfn_to_online_page()`` returns a page."""
        return self.kernel.rules.pfn_to_online_page(self)

    @cached_property
    def is_online_ram(self) -> ExtentMask:
        """Ground truth: initialised System RAM of a section that is online.

        This asks the stores, not the predicates that walkers use.
        """
        ram = self.subsection & self.initialised & (self.zone != DEVICE)
        rows: ExtentMask = ram & self.section_has_online & ~self.is_boot_hole
        return rows

    @cached_property
    def in_balloon(self) -> ExtentMask:
        """Online RAM that is PageOffline and not the buddy allocator's: a driver keeps it."""
        unused = ~self.is_managed & self.page_has(PageFlag.PG_offline)
        rows: ExtentMask = self.is_online_ram & (self.refcount > 0) & unused
        return rows

    @cached_property
    def is_managed(self) -> ExtentMask:
        """What the buddy allocator was given, in use or free."""
        return self.page_has(PageFlag.MANAGED)

    @cached_property
    def is_boot_hole(self) -> ExtentMask:
        """Struct pages set up at boot for pfns that are no memory."""
        return self.initialised & self.page_has(PageFlag.HOLE)

    @cached_property
    def zone_index(self) -> Pfns:
        """Row of ``Nodes.zone_cells``, flattened, that the page links to.

        Meaningful where initialised; clipped elsewhere.
        """
        last = len(self.kernel.nodes) * NR_ZONES - 1
        return (self.nid.astype(np.int64) * NR_ZONES + self.zone).clip(0, last)

    @cached_property
    def zone_numbers(self) -> Pfns:
        """(nr_zones, 6): every zone of every node, as in ``Nodes.zone_cells``."""
        cells = self.kernel.nodes.zone_cells
        return cells.reshape(-1, cells.shape[-1])

    @cached_property
    def beyond_zone_span(self) -> ExtentMask:
        """Rows that the span of the zone they link to does not cover."""
        numbers = self.zone_numbers[self.zone_index]
        start, end = numbers[:, 0], numbers[:, 0] + numbers[:, 1]
        return (self.start_pfn < start) | (self.end_pfn > end)

    # Rows and pfns

    def row_of(self, pfns: Pfns) -> Pfns:
        """Index of the row that holds each pfn."""
        return self.start_pfn.searchsorted(pfns, "right") - 1

    def row_at(self, pfn: int) -> int:
        """Index of the row that holds *pfn*."""
        return int(self.start_pfn.searchsorted(pfn, "right")) - 1

    def holds_multiple_of(self, nr_pages: int) -> ExtentMask:
        """Rows that hold a pfn which is a multiple of *nr_pages*."""
        # Sizes are powers of two but for odd memory blocks, and division is slow.
        odd = nr_pages & (nr_pages - 1)
        behind = -self.start_pfn % nr_pages if odd else -self.start_pfn & (nr_pages - 1)
        rows: ExtentMask = behind < self.nr_pages
        return rows

    def touched(self, pfns: Iterable[PfnRange]) -> ExtentMask:
        """Rows that some of *pfns* lie in."""
        rows = np.zeros(len(self.start_pfn), bool)
        for each in pfns:
            rows |= (self.start_pfn < each.end_pfn) & (self.end_pfn > each.start_pfn)
        return rows

    def where(self, rows: ExtentMask) -> tuple[PfnRange, ...]:
        """The pfns of *rows*, touching ranges joined."""
        start, end = self.start_pfn[rows].tolist(), self.end_pfn[rows].tolist()
        return merge_ranges(map(PfnRange, start, end))
