"""mm/sparse.c and vmemmap a page and a byte at a time, written as the kernel walks.

Nothing here uses a helper of the model: sizes are bytes, page tables are dicts, markers are
bytes in a bytearray. What the kernel tells by address the twin tells by address.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from hotplug_model.boot import BootLayout
from hotplug_model.flags import MemmapOrigin
from hotplug_model.geometry import Geometry
from hotplug_model.rules import KernelRules
from hotplug_model.state.faults import Allocation
from hotplug_model.state.ledger import Law

UNUSED, POISON, GARBAGE = 0xFD, 0xFF, 0xA5
OWN = (MemmapOrigin.ALTMAP, MemmapOrigin.SELF_HOSTED)
MARKED_ARCHES = ("x86", "s390")


class Refused(Exception):
    """An errno on its way up."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode[number])
        self.number = number


@dataclass(eq=False)
class Frame:
    """One allocation: a page, or the pages of a huge page."""

    origin: MemmapOrigin
    number: int
    """Its first pfn, if an altmap gave it; else the page of vmemmap it was taken for."""
    refs: int = 1


@dataclass
class TwinAltmap:
    base_pfn: int
    reserve: int
    free: int
    end_pfn: int
    self_hosted: bool = False
    alloc: int = 0
    align: int = 0

    def take(self, nr: int) -> Frame | None:
        """altmap_alloc_block_buf()."""
        pfn = self.base_pfn + self.reserve + self.alloc + self.align
        bit = 1
        while nr % (bit * 2) == 0:
            bit *= 2
        loss = (bit - pfn % bit) % bit
        room = max(0, self.free - self.alloc - self.align)
        if nr + loss > room:
            return None
        self.alloc += nr
        self.align += loss
        origin = MemmapOrigin.SELF_HOSTED if self.self_hosted else MemmapOrigin.ALTMAP
        return Frame(origin, pfn + loss)


@dataclass
class Map:
    """What populating asks of a dev_pagemap."""

    start_pfn: int
    """Where the range begins that is being added."""
    nr: int
    """Pages of a compound page."""


@dataclass
class Twin:
    """The machine: sections, page tables of vmemmap, and the bytes of its huge pages."""

    geometry: Geometry
    rules: KernelRules
    layout: BootLayout
    ptes: dict[int, Frame] = field(default_factory=dict)
    """By page of vmemmap."""
    blocks: dict[int, Frame] = field(default_factory=dict)
    """By huge region of vmemmap."""
    memory: dict[int, bytearray] = field(default_factory=dict)
    """Bytes of each huge page, by huge region."""
    tables: set[int] = field(default_factory=set)
    """Huge regions that have a page of PTEs."""
    bits: set[int] = field(default_factory=set)
    """Subsections whose bit is set."""
    present: set[int] = field(default_factory=set)
    """Sections with SECTION_HAS_MEM_MAP."""
    early: set[int] = field(default_factory=set)
    usage: set[int] = field(default_factory=set)
    boot_usage: set[int] = field(default_factory=set)
    outstanding: Counter[MemmapOrigin] = field(default_factory=Counter)
    laws: set[Law] = field(default_factory=set)
    unused_pmd_start: int | None = None
    undoing: bool = False
    """Whether a populate that failed takes back what it mapped."""
    wild_writes: int = 0
    """Bytes that were marked where nothing is mapped: the kernel would crash."""
    fail_at: tuple[Allocation, int] | None = None
    made: Counter[Allocation] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        size = self.geometry
        self.page = 1 << size.page_shift
        self.pmd = 1 << size.pmd_shift
        self.each = size.struct_page_bytes
        self.section = 1 << (size.section_size_bits - size.page_shift)
        self.subsection = 1 << (size.subsection_shift - size.page_shift)
        self.vmemmap = self.layout.sparsemem_vmemmap
        self.boot()

    # What can fail

    def allocate(self, kind: Allocation) -> bool:
        nth = self.made[kind]
        self.made[kind] += 1
        return self.fail_at != (kind, nth)

    def block_buf(self, size: int, addr: int, altmap: TwinAltmap | None) -> Frame | None:
        """vmemmap_alloc_block_buf()."""
        nr = size // self.page
        if altmap is not None:
            return altmap.take(nr)
        kind = Allocation.VMEMMAP_PAGE if size == self.page else Allocation.VMEMMAP_HUGE
        if not self.allocate(kind):
            return None
        self.outstanding[MemmapOrigin.BUDDY] += nr
        return Frame(MemmapOrigin.BUDDY, addr // self.page)

    # Boot

    def boot(self) -> None:
        """memory_present(), sparse_init(): whole sections, one after the other."""
        for ram, _ in self.layout.ram:
            for pfn in range(ram.start_pfn, ram.end_pfn):
                self.bits.add(pfn // self.subsection)
                self.present.add(pfn // self.section)
        for section in sorted(self.present):
            self.early.add(section)
            self.usage.add(section)
            self.boot_usage.add(section)
            start = section * self.section * self.each
            end = start + self.section * self.each
            if self.geometry.maps_vmemmap_huge and self.vmemmap:
                self.boot_huge(start, end)
            else:
                self.boot_small(start, end)
        for section in sorted(self.present):
            start = section * self.section * self.each
            self.memset(start, start + self.section * self.each, 1)

    def boot_huge(self, start: int, end: int) -> None:
        for region in range(start // self.pmd, -(-end // self.pmd)):
            if region not in self.blocks:
                frame = Frame(MemmapOrigin.BOOT, region * self.pmd // self.page)
                self.map_block(region, frame)
                self.outstanding[MemmapOrigin.BOOT] += self.pmd // self.page
                # The model marks at once what the kernel would still remember.
                marks = self.rules.vmemmap_marks_unpopulated != "never"
                self.memory[region][:] = bytes([UNUSED if marks else 0]) * self.pmd

    def boot_small(self, start: int, end: int) -> None:
        for page in range(start // self.page, -(-end // self.page)):
            if page not in self.ptes:
                self.ptes[page] = Frame(MemmapOrigin.BOOT, page)
                self.outstanding[MemmapOrigin.BOOT] += 1
                if self.vmemmap:
                    self.tables.add(page * self.page // self.pmd)

    # mm/memory_hotplug.c, mm/sparse.c

    def chunks(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        while start < end:
            stop = min(end, (start // self.section + 1) * self.section)
            yield start, stop
            start = stop

    def add_pages(
        self, start: int, end: int, altmap: TwinAltmap | None, pgmap: Map | None = None
    ) -> int | None:
        """__add_pages(); the errno, if any."""
        if altmap is not None:
            altmap.alloc = 0
        try:
            for first, last in self.chunks(start, end):
                self.section_activate(first, last, altmap, pgmap)
                if self.layout.page_poisoning:
                    self.memset(first * self.each, last * self.each, POISON)
                self.present.add(first // self.section)
        except Refused as refused:
            return refused.number
        return None

    def remove_pages(self, start: int, end: int, altmap: TwinAltmap | None) -> None:
        """__remove_pages()."""
        for first, last in self.chunks(start, end):
            if first // self.section in self.present:
                self.section_deactivate(first, last, altmap)

    def subsections(self, start: int, end: int) -> set[int]:
        return set(range(start // self.subsection, -(-end // self.subsection)))

    def section_activate(
        self, start: int, end: int, altmap: TwinAltmap | None, pgmap: Map | None
    ) -> None:
        section = start // self.section
        if section not in self.usage and not self.allocate(Allocation.USAGE):
            raise Refused(errno.ENOMEM)
        wanted = self.subsections(start, end)
        if wanted & self.bits:
            raise Refused(errno.EEXIST)
        self.usage.add(section)
        self.bits |= wanted
        if end - start < self.section and section in self.early:
            return
        try:
            self.populate_section_memmap(start, end, altmap, pgmap)
        except Refused:
            self.section_deactivate(start, end, altmap)
            raise

    def section_deactivate(self, start: int, end: int, altmap: TwinAltmap | None) -> None:
        section, gone = start // self.section, self.subsections(start, end)
        if not gone <= self.bits:
            return
        was_early = section in self.early
        self.bits -= gone
        first = section * self.section
        empty = not self.bits & self.subsections(first, first + self.section)
        if empty:
            self.present.discard(section)
            if section not in self.boot_usage:
                self.usage.discard(section)
        if not was_early:
            self.depopulate(start, end, altmap)
        elif empty:
            self.depopulate(first, first + self.section, None)
        if empty:
            self.early.discard(section)

    def populate_section_memmap(
        self, pfn: int, end_pfn: int, altmap: TwinAltmap | None, pgmap: Map | None
    ) -> None:
        start, end = pfn * self.each, end_pfn * self.each
        if not self.vmemmap:
            self.kvmalloc(start, end)
        elif pgmap is not None and self.can_optimize(altmap, pgmap):
            self.populate_compound(pfn, start, end, pgmap)
        else:
            getattr(self, f"populate_{self.geometry.arch}")(start, end, altmap)

    def depopulate(self, pfn: int, end_pfn: int, altmap: TwinAltmap | None) -> None:
        start, end = pfn * self.each, end_pfn * self.each
        if self.vmemmap:
            getattr(self, f"free_{self.geometry.arch}")(start, end, altmap)
        else:
            self.kvfree(start, end, pfn // self.section in self.early)

    def kvmalloc(self, start: int, end: int) -> None:
        if not self.allocate(Allocation.VMEMMAP_PAGE):
            raise Refused(errno.ENOMEM)
        for page in range(start // self.page, -(-end // self.page)):
            self.ptes[page] = Frame(MemmapOrigin.BUDDY, page)
            self.outstanding[MemmapOrigin.BUDDY] += 1

    def kvfree(self, start: int, end: int, early: bool) -> None:
        for page in range(start // self.page, -(-end // self.page)):
            frame = self.ptes.pop(page, None)
            if frame is None:
                # pfn_to_page() of a section that has no memmap is an address all the same.
                self.laws.add(Law.FREED_TO_A_STRANGER)
                continue
            # What boot allocated was decoded before the section was reset.
            if early or self.rules.memmap_freed_before_reset:
                self.outstanding[frame.origin] -= 1
            else:
                self.laws.add(Law.FREED_TO_A_STRANGER)

    # mm/sparse-vmemmap.c

    def map_block(self, region: int, frame: Frame) -> None:
        self.blocks[region] = frame
        fill = GARBAGE if frame.origin in OWN else 0
        self.memory[region] = bytearray(bytes([fill])) * self.pmd

    def populate_address(
        self, addr: int, altmap: TwinAltmap | None, reuse: Frame | None = None
    ) -> Frame:
        region, page = addr // self.pmd, addr // self.page
        if region in self.blocks:
            self.laws.add(Law.MAPPED_BELOW_A_HUGE_PAGE)
            return self.blocks[region]
        if region not in self.tables:
            if not self.allocate(Allocation.PAGE_TABLE):
                raise Refused(errno.ENOMEM)
            self.tables.add(region)
        if page not in self.ptes:
            if reuse is None:
                frame = self.block_buf(self.page, addr, altmap)
                if frame is None:
                    raise Refused(errno.ENOMEM)
            else:
                frame = reuse
                frame.refs += 1
            self.ptes[page] = frame
        return self.ptes[page]

    def populate_range(
        self, start: int, end: int, altmap: TwinAltmap | None, reuse: Frame | None = None
    ) -> None:
        """vmemmap_populate_range(): steps a page at a time from *start* as it is."""
        addr = start
        while addr < end:
            self.populate_address(addr, altmap, reuse)
            addr += self.page

    def can_optimize(self, altmap: TwinAltmap | None, pgmap: Map) -> bool:
        power = bin(self.each).count("1") == 1
        if not power or altmap is not None or not self.rules.vmemmap_dedup:
            return False
        if self.rules.vmemmap_dedup_needs_the_arch and self.geometry.arch != "x86":
            return False
        if self.rules.vmemmap_dedup_needs_an_alias:
            return pgmap.nr * self.each // self.page > 2
        return pgmap.nr > 1

    def populate_compound(self, pfn: int, start: int, end: int, pgmap: Map) -> None:
        """vmemmap_populate_compound_pages()."""
        if (pfn - pgmap.start_pfn) % pgmap.nr and pgmap.nr > self.subsection:
            tail = self.ptes[start // self.page - 1]
            self.populate_range(start, end, None, tail)
            return
        size = min(end - start, pgmap.nr * self.each)
        addr = start
        while addr < end:
            self.populate_address(addr, None)
            tail = self.populate_address(addr + self.page, None)
            self.populate_range(addr + 2 * self.page, addr + size, None, tail)
            addr += size

    def pmd_ranges(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """pmd_addr_end()."""
        while start < end:
            region = start // self.pmd
            stop = min(end, (region + 1) * self.pmd)
            yield region, start, stop
            start = stop

    def in_use(self, start: int, end: int) -> bool:
        """Whether a byte of vmemmap belongs to the struct page of somebody's pfn."""
        if self.undoing:
            return False
        for pfn in range(start // self.each, -(-end // self.each)):
            section = pfn // self.section
            if pfn // self.subsection in self.bits:
                return True
            if section in self.early and section in self.present:
                return True
        return False

    def put(self, frame: Frame, nr: int, altmap: TwinAltmap | None) -> None:
        """The page goes to the altmap or to the allocator when its last user goes."""
        own = frame.origin in OWN
        inside = altmap is not None and all(
            altmap.base_pfn <= pfn < altmap.base_pfn + altmap.reserve + altmap.free
            for pfn in range(frame.number, frame.number + nr)
        )
        if own != (altmap is not None) or (own and not inside):
            self.laws.add(Law.FREED_TO_A_STRANGER)
        frame.refs -= 1
        if frame.refs:
            return
        if altmap is not None:
            altmap.alloc -= nr
        if not own:
            self.outstanding[frame.origin] -= nr

    def put_block(self, region: int, altmap: TwinAltmap | None) -> None:
        if self.in_use(region * self.pmd, (region + 1) * self.pmd):
            self.laws.add(Law.FREED_IN_USE)
        del self.memory[region]
        self.put(self.blocks.pop(region), self.pmd // self.page, altmap)

    def put_pte(self, addr: int, altmap: TwinAltmap | None) -> None:
        page = addr // self.page
        if page not in self.ptes:
            return
        if self.in_use(page * self.page, (page + 1) * self.page):
            self.laws.add(Law.FREED_IN_USE)
        self.put(self.ptes.pop(page), 1, altmap)

    def free_empty_table(self, region: int) -> None:
        per = self.pmd // self.page
        if not any(region * per + index in self.ptes for index in range(per)):
            self.tables.discard(region)

    def free_base_pages(
        self, region: int, addr: int, end: int, altmap: TwinAltmap | None
    ) -> None:
        if region in self.tables:
            while addr < end:
                self.put_pte(addr, altmap)
                addr += self.page
            self.free_empty_table(region)

    # Markers

    def memset(self, start: int, end: int, byte: int) -> None:
        for region, addr, stop in self.pmd_ranges(start, end):
            if region in self.memory:
                offset = addr - region * self.pmd
                self.memory[region][offset : offset + stop - addr] = bytes([byte]) * (stop - addr)
            elif byte == UNUSED:
                self.wild_writes += stop - addr

    def vmemmap_flush_unused_pmd(self) -> None:
        if self.unused_pmd_start is not None:
            start = self.unused_pmd_start
            self.memset(start, -(-start // self.pmd) * self.pmd, UNUSED)
            self.unused_pmd_start = None

    def vmemmap_pmd_is_unused(self, region: int, addr: int, end: int) -> bool:
        if self.marks():
            self.vmemmap_flush_unused_pmd()
        self.memset(addr, end, UNUSED)
        return self.memory[region].count(UNUSED) == self.pmd

    def marks(self) -> bool:
        return self.geometry.arch == "s390" or self.rules.vmemmap_marks_unpopulated != "never"

    def vmemmap_use_sub_pmd(self, start: int, end: int) -> None:
        if not self.marks():
            return
        if self.unused_pmd_start == start:
            self.unused_pmd_start = None if end % self.pmd == 0 else end
            return
        self.vmemmap_flush_unused_pmd()
        self.memset(start, start + self.each, 0)

    def vmemmap_use_new_sub_pmd(self, start: int, end: int) -> None:
        if not self.marks() or (start % self.pmd == 0 and end % self.pmd == 0):
            return
        self.vmemmap_flush_unused_pmd()
        self.memset(start, start + self.each, 0)
        first = start // self.pmd * self.pmd
        if start != first:
            if self.rules.vmemmap_marks_unpopulated == "misplaced":
                self.memset(start, start + (start - first), UNUSED)
            else:
                self.memset(first, start, UNUSED)
        if end % self.pmd:
            self.unused_pmd_start = end

    # arch/x86/mm/init_64.c

    def populate_x86(self, start: int, end: int, altmap: TwinAltmap | None) -> None:
        assert start % self.page == end % self.page == 0
        if end - start < self.section * self.each:
            self.populate_range(start, end, None)
            return
        for region, addr, stop in self.pmd_ranges(start, end):
            if region in self.blocks:
                self.vmemmap_use_sub_pmd(addr, stop)
                continue
            if region not in self.tables:
                frame = self.block_buf(self.pmd, region * self.pmd, altmap)
                if frame is not None:
                    self.map_block(region, frame)
                    self.vmemmap_use_new_sub_pmd(addr, stop)
                    continue
                if altmap is not None:
                    raise Refused(errno.ENOMEM)
            self.populate_range(addr, stop, None)

    def free_x86(self, start: int, end: int, altmap: TwinAltmap | None) -> None:
        for_base_pages = None if self.rules.altmap_gives_huge_pages_only else altmap
        for region, addr, stop in self.pmd_ranges(start, end):
            if region in self.blocks:
                whole = addr % self.pmd == 0 and stop % self.pmd == 0
                if whole or self.vmemmap_pmd_is_unused(region, addr, stop):
                    self.put_block(region, altmap)
            else:
                self.free_base_pages(region, addr, stop, for_base_pages)

    # arch/arm64/mm/mmu.c

    def populate_arm64(self, start: int, end: int, altmap: TwinAltmap | None) -> None:
        part = end - start < self.section * self.each
        if not self.geometry.maps_vmemmap_huge or (
            part and self.rules.arm64_maps_parts_by_base_pages
        ):
            self.populate_range(start, end, altmap)
            return
        for region, addr, stop in self.pmd_ranges(start, end):
            if region in self.blocks:
                continue
            if region in self.tables:
                self.populate_range(addr, stop, altmap)
                continue
            frame = self.block_buf(self.pmd, region * self.pmd, altmap)
            if frame is not None:
                self.map_block(region, frame)
            elif altmap is not None:
                raise Refused(errno.ENOMEM)
            else:
                self.populate_range(addr, stop, None)

    def free_arm64(self, start: int, end: int, altmap: TwinAltmap | None) -> None:
        if not self.rules.arm64_frees_vmemmap:
            return
        for region, addr, stop in self.pmd_ranges(start, end):
            if region in self.blocks:
                self.put_block(region, altmap)
            else:
                self.free_base_pages(region, addr, stop, altmap)

    # arch/powerpc/mm/init_64.c; the mappings of the hash MMU are the blocks here

    def pfn_valid(self, pfn: int) -> bool:
        section = pfn // self.section
        bit = pfn // self.subsection in self.bits
        return section in self.present and (section in self.early or bit)

    def vmemmap_populated(self, region: int) -> bool:
        start, end = region * self.pmd, (region + 1) * self.pmd
        pfn = start // self.each // self.subsection * self.subsection
        while pfn * self.each < end:
            if self.pfn_valid(pfn):
                return True
            pfn += self.subsection
        return False

    def populate_powerpc(self, start: int, end: int, altmap: TwinAltmap | None) -> None:
        addr = start // self.pmd * self.pmd
        while addr < end:
            region = addr // self.pmd
            addr += self.pmd
            if self.vmemmap_populated(region):
                continue
            frame = None
            if altmap is not None and not self.crosses(region, altmap):
                frame = self.block_buf(self.pmd, region * self.pmd, altmap)
            if frame is None:
                frame = self.block_buf(self.pmd, region * self.pmd, None)
            if frame is None:
                raise Refused(errno.ENOMEM)
            self.map_block(region, frame)

    def crosses(self, region: int, altmap: TwinAltmap) -> bool:
        """altmap_cross_boundary()."""
        if not self.rules.powerpc_altmap_keeps_its_bounds:
            return False
        first = region * self.pmd // self.each
        last = first + self.pmd // self.each - 1
        return last > altmap.end_pfn - 1 or first < altmap.base_pfn

    def free_powerpc(self, start: int, end: int, altmap: TwinAltmap | None) -> None:
        addr = start // self.pmd * self.pmd
        while addr < end:
            region = addr // self.pmd
            addr += self.pmd
            if self.vmemmap_populated(region) or region not in self.blocks:
                continue
            frame = self.blocks[region]
            mine = (
                altmap is not None
                and frame.origin in OWN
                and altmap.base_pfn <= frame.number
                and frame.number < altmap.base_pfn + altmap.reserve + altmap.free
            )
            self.put_block(region, altmap if mine else None)

    # arch/s390/mm/vmem.c

    def populate_s390(self, start: int, end: int, altmap: TwinAltmap | None) -> None:
        try:
            for region, addr, stop in self.pmd_ranges(start, end):
                if region in self.blocks:
                    self.vmemmap_use_sub_pmd(addr, stop)
                    continue
                if region not in self.tables:
                    frame = self.block_buf(self.pmd, region * self.pmd, altmap)
                    if frame is not None:
                        self.map_block(region, frame)
                        self.vmemmap_use_new_sub_pmd(addr, stop)
                        continue
                self.populate_range(addr, stop, altmap)
        except Refused:
            self.undoing = True
            self.free_s390(start, end, altmap)
            self.undoing = False
            raise

    def free_s390(self, start: int, end: int, altmap: TwinAltmap | None) -> None:
        for region, addr, stop in self.pmd_ranges(start, end):
            if region in self.blocks:
                whole = addr % self.pmd == 0 and stop % self.pmd == 0
                if whole or self.vmemmap_pmd_is_unused(region, addr, stop):
                    self.put_block(region, altmap)
            else:
                self.free_base_pages(region, addr, stop, altmap)
