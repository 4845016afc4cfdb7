"""The whole modelled machine: state tables plus the rules they evolve under."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from hotplug_model.boot import BootLayout, boot_zones, zone_limits
from hotplug_model.callbacks import Callbacks
from hotplug_model.contiguous import boot_contiguous
from hotplug_model.extents import Extents
from hotplug_model.flags import (
    BOOT_SECTION,
    BlockState,
    LinearMap,
    MappingLevel,
    MemmapOrigin,
    MemoryClass,
    NotifierAction,
    PageContent,
    PageFlag,
    ZoneType,
    early_nid_left,
)
from hotplug_model.geometry import Geometry
from hotplug_model.mm.memblock import memblock_add_node
from hotplug_model.parts import joined, parts_of
from hotplug_model.pfn import PfnRange, merge_ranges
from hotplug_model.rules import KernelRules
from hotplug_model.state.dev_pagemap import DevPagemap
from hotplug_model.state.faults import Faults
from hotplug_model.state.hv_balloon import HvBalloon
from hotplug_model.state.ledger import Ledger
from hotplug_model.state.locks import Locks
from hotplug_model.state.memblock import ARCH_KEEP_MEMBLOCK, Memblock
from hotplug_model.state.memory_block import MemoryBlock
from hotplug_model.state.pfn_table import PfnTable
from hotplug_model.state.rcu import Rcu
from hotplug_model.state.resource import SYSTEM_RAM, Resource
from hotplug_model.state.virtio_mem import VirtioMem
from hotplug_model.state.vmemmap import Vmemmap
from hotplug_model.state.zone import Nodes, Zone


@dataclass(slots=True)
class Kernel:
    """Everything that an operation may read or change."""

    geometry: Geometry
    rules: KernelRules
    layout: BootLayout
    pfns: PfnTable
    vmemmap: Vmemmap
    nodes: Nodes
    iomem: Resource
    blocks: dict[int, MemoryBlock] = field(default_factory=dict)
    """By block id, ``phys_to_block_id()``."""
    pgmaps: dict[int, DevPagemap] = field(default_factory=dict)
    locks: Locks = field(default_factory=Locks)
    rcu: Rcu = field(default_factory=Rcu)
    vetoes: frozenset[NotifierAction] = frozenset()
    """What a registered memory notifier answers with -EPERM."""
    notified: list[tuple[NotifierAction, PfnRange]] = field(default_factory=list)
    """Notifier calls of the operation in flight."""
    ledger: Ledger = field(default_factory=Ledger)
    faults: Faults = field(default_factory=Faults)
    """Which allocation of the operation in flight fails."""
    lender: VirtioMem | HvBalloon | None = None
    """The driver through which a hypervisor lends memory, with its device."""
    callbacks: Callbacks = field(default_factory=Callbacks)
    """Those of the lender, but for what a machine has from boot: see ``layout.hypervisor``."""
    nr_memmap_pages: int = 0
    """``nr_memmap_pages`` of /proc/vmstat: pages of memmap, whether or not shared. A
    statistic that nothing depends on, so it is no part of the fingerprint."""
    nr_memmap_boot_pages: int = 0
    """``nr_memmap_boot_pages`` of /proc/vmstat, likewise."""
    memblock: Memblock = field(default_factory=Memblock.empty)
    """``memblock.memory`` in bytes. Of its regions only the marks of vmemmap can matter to
    an operation, so it is part of the fingerprint only where the rules use these.

    # Simplified: what backs vmemmap, unless an altmap gave it, lies behind all pfns, in
    RAM that hotplug never touches."""
    devmap_managed_key: int = 0
    """``devmap_managed_key``: how many maps want to hear of their pages' last reference."""
    num_poisoned_pages: int = 0
    """``HardwareCorrupted`` of /proc/meminfo, in pages."""
    section_roots: frozenset[int] = frozenset()
    """Entries of ``mem_section`` that are allocated; none ever goes."""
    hugetlb: tuple[PfnRange, ...] = ()
    """Huge pages of the pool, in order."""

    @classmethod
    def boot(cls, geometry: Geometry, rules: KernelRules, layout: BootLayout) -> Self:
        """The machine right after boot, before any hotplug.

        Source: memory_present() and sparse_init() in mm/sparse.c; memmap_init() in
        mm/page_alloc.c (mm/mm_init.c since 6.5) for the zone of holes.
        """
        iomem = Resource("iomem", geometry.all_pfns, busy=False)
        for name, pfns in layout.firmware:
            iomem.request(Resource(name, pfns, busy=False))
        for pfns, _ in layout.ram:
            iomem.request(Resource(SYSTEM_RAM, pfns))
        nodes = Nodes.empty(layout.nodes)
        kernel = cls(geometry, rules, layout, PfnTable(geometry.all_pfns),
            Vmemmap(geometry.vmemmap_pages), nodes, iomem)
        if layout.hypervisor == "hyper-v":
            kernel.lender = HvBalloon()
        kernel._boot_sections()
        kernel._boot_zones()
        kernel._boot_memmap()
        kernel._boot_vmemmap()
        kernel._boot_blocks()
        kernel._boot_memblock()
        kernel.vmemmap.merge()
        kernel.pfns.merge()
        boot_contiguous(kernel)
        return kernel

    def snapshot(self) -> Self:
        """An independent copy; rules, geometry and layout are shared."""
        return type(self)(
            self.geometry,
            self.rules,
            self.layout,
            self.pfns.copy(),
            self.vmemmap.copy(),
            self.nodes.copy(),
            self.iomem.copy(),
            {block_id: block.copy() for block_id, block in self.blocks.items()},
            {pgmap_id: pgmap.copy() for pgmap_id, pgmap in self.pgmaps.items()},
            self.locks.copy(),
            self.rcu.copy(),
            self.vetoes,
            list(self.notified),
            self.ledger.copy(),
            Faults(),
            self.lender.copy() if self.lender is not None else None,
            self.callbacks,
            self.nr_memmap_pages,
            self.nr_memmap_boot_pages,
            self.memblock.copy(),
            self.devmap_managed_key,
            self.num_poisoned_pages,
            self.section_roots,
            self.hugetlb,
        )

    def fingerprint(self) -> bytes:
        """Equal for machines in equal states, in any process."""
        return joined(parts_of(self))

    def extents(self) -> Extents:
        """What the predicates say now. Valid until the next write."""
        return Extents(self)

    @property
    def keeps_memblock(self) -> bool:
        """Whether memblock outlives boot: ARCH_KEEP_MEMBLOCK."""
        unused = self.rules.unused_vmemmap
        discarded = unused is not None and unused.memblock_knows == "nothing"
        return self.geometry.arch in ARCH_KEEP_MEMBLOCK and not discarded

    @property
    def memory_hotremove(self) -> bool:
        """CONFIG_MEMORY_HOTREMOVE, which CONFIG_ZONE_DEVICE depends on: arm64 has it since v5.7.

        Source: commit bbd6ec605c0f ("arm64/mm: Enable memory hot remove") (in v5.7).
        """
        return self.geometry.arch != "arm64" or self.rules.arm64_memory_hotplug == "remove"

    # Zones and blocks

    def zone(self, nid: int, zone: ZoneType) -> Zone:
        """``&NODE_DATA(nid)->node_zones[zone]``."""
        return self.nodes[nid].zones[zone]

    @property
    def pages_per_block(self) -> int:
        """Pages in a memory block."""
        return self.layout.sections_per_block * self.geometry.pages_per_section

    def block_pfns(self, block_id: int) -> PfnRange:
        """Every pfn of a memory block."""
        start = block_id * self.pages_per_block
        return PfnRange(start, start + self.pages_per_block)

    def block_ids(self, pfns: PfnRange) -> range:
        """Ids of the blocks that *pfns* touch, existing or not."""
        size = self.pages_per_block
        return range(pfns.start_pfn // size, -(-pfns.end_pfn // size))

    def blocks_in(self, pfns: PfnRange) -> list[int]:
        """``walk_memory_blocks()``: ids of the blocks that exist in *pfns*."""
        return [block_id for block_id in self.block_ids(pfns) if block_id in self.blocks]

    def set_block_state(self, block_id: int, state: BlockState) -> None:
        """Change a block's state, or make it appear or vanish from the pfn table."""
        if block_id in self.blocks:
            self.blocks[block_id].state = state
        self.pfns.write(self.block_pfns(block_id), block=state)

    # Boot

    def _boot_sections(self) -> None:
        """memory_present(): a section that RAM touches is present and online as a whole.

        Only the RAM itself is in the linear map.
        """
        for ram, nid in self.layout.ram:
            self.pfns.write(
                ram.widened(self.geometry.pages_per_section),
                section_flags=BOOT_SECTION | early_nid_left(nid, self.rules.section_nid_shift),
                memmap=MemmapOrigin.BOOT,
                content=PageContent.INITIALISED,
            )
        for ram, _ in self.layout.ram:
            self.pfns.write(ram.widened(self.geometry.pages_per_subsection), subsection=1)
            self.pfns.write(ram, memory=MemoryClass.SYSTEM_RAM, linear_map=LinearMap.MAPPED)

        self.section_roots = frozenset(map(self.geometry.section_root, self.pfns.start_pfn[
            self.pfns.column("section_flags") != 0].tolist()))

    def _boot_zones(self) -> None:
        """Spans and counts of zones and nodes."""
        for nid, node in self.nodes.items():
            found = boot_zones(self.geometry, self.layout, nid)
            for zone_type, span, present in found:
                zone = node.zones[zone_type]
                zone.zone_start_pfn, zone.spanned_pages = span.start_pfn, span.nr_pages
                zone.present_pages = present
                zone.managed_pages = present - self._boot_reserved(nid, span)
                node.node_present_pages += present
            if found:
                node.node_start_pfn = found[0][1].start_pfn
                node.node_spanned_pages = found[-1][1].end_pfn - node.node_start_pfn
                node.n_memory = 1
        self.nodes.build_all_zonelists()

    def _boot_reserved(self, nid: int, pfns: PfnRange) -> int:
        """Pages of a node in *pfns* that memblock keeps from the buddy allocator."""
        own = [ram.intersection(pfns) for ram, owner in self.layout.ram if owner == nid]
        parts = (part.intersection(kept) for part in own for kept in self.layout.reserved)
        return sum(max(0, part.nr_pages) for part in parts)

    def _boot_memmap(self) -> None:
        """memmap_init(): a hole takes the zone of the RAM behind it, the last one's tail
        that of the RAM before it. What memblock holds is reserved, all else is freed.

        Source: memmap_init(), init_unavailable_range(); memblock_free_all(),
        memmap_init_reserved_pages() in mm/memblock.c.
        """
        size = self.geometry.pages_per_section
        mapped = self.pfns.copy()
        hole_flags = PageFlag.PG_reserved | PageFlag.HOLE
        parts = [
            (ram.intersection(limits), zone, nid)
            for ram, nid in self.layout.ram
            for zone, limits in zone_limits(self.geometry)
            if ram.overlaps(limits)
        ]
        hole_start = 0
        for part, zone, nid in parts:
            hole = PfnRange(hole_start, part.start_pfn)
            self._init_boot_pages(mapped, hole, zone, nid, hole_flags)
            self._init_boot_pages(mapped, part, zone, nid, PageFlag.MANAGED)
            hole_start = part.end_pfn
        _, zone, nid = parts[-1]
        tail = PfnRange(hole_start, -(-hole_start // size) * size)
        self._init_boot_pages(mapped, tail, zone, nid, hole_flags)
        for pfns in self.layout.reserved:
            self.pfns.write(pfns, page_flags=PageFlag.PG_reserved, refcount=1)
        if self.rules.memmap_init_to_section_end:
            self._init_to_section_end()

    def _init_to_section_end(self) -> None:
        """Pages behind a zone that ends amid a section become that zone's, unless a node with
        a greater number is initialised later. The buddy allocator gets them where they
        say they are.

        Source: memmap_init_zone() (4.20); commit 4aa9fc2a435a (in v5.0).
        """
        size = self.geometry.pages_per_section
        for nid in self.nodes:
            for zone_type, span, _ in boot_zones(self.geometry, self.layout, nid):
                rest = PfnRange(span.end_pfn, -(-span.end_pfn // size) * size)
                taken = [r.intersection(rest) for r, n in self.layout.ram if n < nid]
                for pfns in taken:
                    if pfns.nr_pages > 0:
                        self._move_to_zone(pfns, zone_type, nid)

    def _move_to_zone(self, pfns: PfnRange, zone_type: ZoneType, nid: int) -> None:
        """Pages of *pfns* link to a zone of another node, which manages them from now on."""
        flags, lengths = self.pfns.within(pfns, "page_flags"), self.pfns.lengths(pfns)
        managed = int(lengths[(flags & PageFlag.MANAGED) != 0].sum())
        owner = self.zone(self.pfns.at(pfns.start_pfn, "nid"),
            ZoneType(self.pfns.at(pfns.start_pfn, "zone")))
        owner.managed_pages -= managed
        self.zone(nid, zone_type).managed_pages += managed
        self.pfns.write(pfns, zone=zone_type, nid=nid)

    def _init_boot_pages(
        self, mapped: PfnTable, pfns: PfnRange, zone: ZoneType, nid: int, flags: int
    ) -> None:
        """Initialise those of *pfns* that have a boot memmap; holes rest at count 1."""
        runs = mapped.overlapping(pfns)
        starts, ends = mapped.start_pfn[runs], mapped.end_pfn[runs]
        origins = mapped.column("memmap")[runs]
        for start, end, origin in zip(
            starts.tolist(), ends.tolist(), origins.tolist(), strict=True
        ):
            if origin != MemmapOrigin.NONE:
                part = PfnRange(start, end).intersection(pfns)
                if flags & PageFlag.HOLE and self.layout.holes_in_zone:
                    self.pfns.write(part, content=PageContent.ZEROED)
                    continue
                refs = 1 if flags & PageFlag.HOLE else 0
                self.pfns.write(part, zone=zone, nid=nid, page_flags=flags, refcount=refs)

    def _boot_vmemmap(self) -> None:
        """The memmap of every present section, mapped huge where the architecture does.

        One buffer from memblock holds it, section behind section.

        Source: sparse_init_nid(), mm/sparse.c; vmemmap_populate() of the architecture.
        """
        geometry, table = self.geometry, self.vmemmap
        huge = geometry.maps_vmemmap_huge and self.layout.sparsemem_vmemmap
        frame = self.layout.memmap_start
        for sections in self._boot_section_ranges():
            pages = geometry.memmap_of(sections)
            regions = geometry.huge_regions(pages)
            self.nr_memmap_boot_pages += pages.nr_pages
            mapped = PfnRange(regions[0].start_pfn, regions[-1].end_pfn) if huge else pages
            level = MappingLevel.PMD if huge else MappingLevel.PTE
            offset = 0 if frame is None else frame - pages.start_pfn
            # A huge page may have been mapped for the section before already.
            table.write(mapped, level=level, origin=MemmapOrigin.BOOT, offset=offset)
            table.pgds |= set(geometry.pgds_of(mapped))
            frame = None if frame is None else frame + pages.nr_pages
            tables = not huge and self.layout.sparsemem_vmemmap
            for region in regions if tables else []:
                table.write(region, page_table=1)
            self._boot_slack(mapped)
        self.ledger.allocated(MemmapOrigin.BOOT, table.live_pages()[MemmapOrigin.BOOT])

    def _boot_section_ranges(self) -> list[PfnRange]:
        """Runs of present sections, in order."""
        present = self.pfns.column("section_flags") != 0
        starts, ends = self.pfns.start_pfn[present].tolist(), self.pfns.end_pfn[present].tolist()
        return list(merge_ranges(map(PfnRange, starts, ends)))

    def _boot_slack(self, mapped: PfnRange) -> None:
        """Struct pages that a huge page has room for, but that belong to no section."""
        geometry, marks = self.geometry, self.rules.vmemmap_marks_unpopulated != "never"
        content = PageContent.UNUSED if marks else PageContent.ZEROED
        size, each = geometry.page_bytes, geometry.struct_page_bytes
        # Struct pages that reach beyond the huge page are not there.
        described = PfnRange(-(-mapped.start_pfn * size // each), mapped.end_pfn * size // each)
        described = described.intersection(geometry.all_pfns)
        for section in geometry.section_chunks(described):
            if not self.pfns.at(section.start_pfn, "section_flags"):
                self.pfns.write(section, memmap=MemmapOrigin.BOOT, content=content)

    def _boot_blocks(self) -> None:
        """memory_dev_init(): a block for every present section, online."""
        for ram, nid in self.layout.ram:
            for block_id in self.block_ids(ram):
                shared = block_id in self.blocks and self.blocks[block_id].nid != nid
                zone = None if shared else self._early_node_zone(block_id, nid)
                self.blocks[block_id] = MemoryBlock(
                    nid=nid, state=BlockState.MEM_ONLINE, zone=zone
                )
                self.set_block_state(block_id, BlockState.MEM_ONLINE)

    def _boot_memblock(self) -> None:
        """memblock_add_node() for the RAM, and for the memory that vmemmap will come from.

        Source: of_scan_memory(), memblock_discard(); ARCH_KEEP_MEMBLOCK.
        """
        if not self.keeps_memblock:
            return
        home, huge = self.geometry.all_pfns.end_pfn, self.geometry.huge_pages
        end, unused = home + self.geometry.vmemmap_pages.nr_pages, self.rules.unused_vmemmap
        parts = [(PfnRange(home, end), 0)]
        if unused is not None and unused.memblock_knows == "gaps":
            parts = [(PfnRange(pfn, pfn + huge // 2), 0) for pfn in range(home, end, huge)]
        for pfns, nid in [*self.layout.ram, *parts]:
            memblock_add_node(self.memblock, self.geometry.bytes_of(pfns), nid)

    def _early_node_zone(self, block_id: int, nid: int) -> ZoneType | None:
        """early_node_zone_for_memory_block(): the only zone that intersects, if any."""
        pfns = self.block_pfns(block_id)
        found = [zone for zone in ZoneType if self.zone(nid, zone).intersects(pfns)]
        return found[0] if len(found) == 1 else None
