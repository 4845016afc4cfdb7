"""What firmware and the command line hand to the kernel at boot, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, wraps
from itertools import pairwise
from typing import TypeAlias

from hotplug_model.errors import UserError
from hotplug_model.flags import OnlineType, ZoneType
from hotplug_model.geometry import Geometry
from hotplug_model.pfn import PfnRange
from hotplug_model.registry import Registry, unknown

HYPERVISORS = ("", "xen", "hyper-v")
"""Those whose driver is there from boot on and decides which pages go online; or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootLayout:
    """Memory and kernel parameters at boot. Ranges are pfns, in order and disjoint."""

    ram: tuple[tuple[PfnRange, int], ...]
    """System RAM with the node each range belongs to."""
    window: tuple[PfnRange, ...]
    """Where operations are drawn; whole sections."""
    reserved: tuple[PfnRange, ...] = ()
    """RAM that was allocated before there was a buddy allocator: ``memblock.reserved``."""
    firmware: tuple[tuple[str, PfnRange], ...] = ()
    """Other firmware regions in /proc/iomem, by name; none of them is busy."""
    nodes: int = 1
    """Possible nodes: ``node_possible()`` for 0 to this - 1."""
    sections_per_block: int = 1
    """Size of a memory block."""
    memhp_default_state: OnlineType = OnlineType.MMOP_OFFLINE
    movable_node: bool = False
    memmap_on_memory: bool = False
    device_private: bool = True
    """CONFIG_DEVICE_PRIVATE."""
    holes_in_zone: bool = False
    """CONFIG_HOLES_IN_ZONE: the struct pages of boot holes are not initialised."""
    sparsemem_vmemmap: bool = True
    """CONFIG_SPARSEMEM_VMEMMAP; else each section's memmap is one allocation."""
    memmap_start: int | None = None
    """First pfn of the memory that boot took for the memmap; None: of no interest."""
    page_poisoning: bool = True
    """CONFIG_DEBUG_VM with vm_debug=p: memmaps are poisoned, else left stale."""
    hugetlb_free_vmemmap: bool = False
    """hugetlb_free_vmemmap=on: HugeTLB pages give back most of their vmemmap."""
    bbm_safe_unplug: bool = True
    """virtio_mem.bbm_safe_unplug: before v6.5 the driver could be told not to be careful."""
    hypervisor: str = ""
    """``xen`` or ``hyper-v``, whose balloon then decides which pages go online; else none."""

    def validate(self, geometry: Geometry) -> None:
        """Raise :class:`UserError` unless the layout fits *geometry*."""
        every = [*(pfns for pfns, _ in self.ram), *self.reserved, *self.window]
        every += [pfns for _, pfns in self.firmware]
        for pfns in every:
            if pfns.nr_pages <= 0 or not geometry.all_pfns.contains(pfns):
                raise UserError(f"boot: {pfns} is empty or outside {geometry.all_pfns}")
        ram = [pfns for pfns, _ in self.ram]
        regions = sorted([*ram, *(pfns for _, pfns in self.firmware)])
        for first, second in pairwise(regions):
            if first.overlaps(second):
                raise UserError(f"boot: {first} and {second} overlap")
        if not all(any(r.contains(pfns) for r in ram) for pfns in self.reserved):
            raise UserError("boot: each reserved range must lie in one range of ram")
        if not ram or ram != sorted(ram) or not self.window:
            raise UserError("boot: ram and window must not be empty, ram must be sorted")
        if not all(pfns.is_aligned(geometry.pages_per_section) for pfns in self.window):
            raise UserError("boot: window must consist of whole sections")
        if self.sparsemem_vmemmap and not geometry.sparsemem_vmemmap:
            raise UserError(f"boot: {geometry.arch} has no sparsemem_vmemmap")
        if not (1 <= self.nodes <= 8 and all(0 <= nid < self.nodes for _, nid in self.ram)):
            raise UserError("boot: 1 to 8 nodes, and every nid below their number")
        if self.hypervisor not in HYPERVISORS:
            raise UserError("boot: " + unknown("hypervisor", self.hypervisor, HYPERVISORS[1:]))
        if not 1 <= self.sections_per_block <= 64:
            raise UserError("boot: a memory block has 1 to 64 sections")


@lru_cache
def zone_limits(geometry: Geometry) -> tuple[tuple[ZoneType, PfnRange], ...]:
    """Lowest to highest possible pfn of each zone that exists at boot."""
    dma, dma32 = geometry.max_dma_pfn, max(geometry.max_dma_pfn, geometry.max_dma32_pfn)
    return (
        (ZoneType.ZONE_DMA, PfnRange(0, dma)),
        (ZoneType.ZONE_DMA32, PfnRange(dma, dma32)),
        (ZoneType.ZONE_NORMAL, PfnRange(dma32, geometry.all_pfns.end_pfn)),
    )


def boot_zones(
    geometry: Geometry, layout: BootLayout, nid: int
) -> list[tuple[ZoneType, PfnRange, int]]:
    """Populated zones of a node at boot: span and present pages.

    A span is the hull of the node's RAM cut at the zone's limits, holes included.

    Source: calculate_node_totalpages(), mm/page_alloc.c (mm/mm_init.c since 6.5).
    """
    ram = [pfns for pfns, owner in layout.ram if owner == nid]
    if not ram:
        return []
    hull = PfnRange(ram[0].start_pfn, ram[-1].end_pfn)
    zones = []
    for zone_type, limits in zone_limits(geometry):
        present = sum(max(0, pfns.intersection(limits).nr_pages) for pfns in ram)
        if present:
            zones.append((zone_type, hull.intersection(limits), present))
    return zones


LayoutMaker: TypeAlias = Callable[[Geometry], BootLayout]
LAYOUTS: Registry[LayoutMaker] = Registry("boot layout")
ON_REQUEST: Registry[LayoutMaker] = Registry("boot layout")
"""Those on which one commit matters: a search boots them only if they are named."""

MAX_WINDOW = 16
"""Sections that a search uses at the most."""


def layout(make: LayoutMaker, to: Registry[LayoutMaker] = LAYOUTS) -> LayoutMaker:
    """Register a boot layout under its function's name, with dashes.

    Where an architecture has no SPARSEMEM_VMEMMAP the machine has none either.
    """

    @wraps(make)
    def possible(geometry: Geometry) -> BootLayout:
        made = make(geometry)
        return made if geometry.sparsemem_vmemmap else replace(made, sparsemem_vmemmap=False)

    to.add(make.__name__.replace("_", "-"), possible)
    return make


def layout_on_request(make: LayoutMaker) -> LayoutMaker:
    """Register a boot layout that has to be asked for."""
    return layout(make, ON_REQUEST)


def every_layout() -> list[tuple[str, LayoutMaker]]:
    """All layouts, by name; those that have to be asked for at the end."""
    return [*LAYOUTS.items(), *ON_REQUEST.items()]


def find_layout(name: str) -> LayoutMaker:
    """The layout called *name*, of either kind; :class:`UserError` if there is none."""
    every = dict(every_layout())
    if name not in every:
        raise UserError(unknown(LAYOUTS.noun, name, every))
    return every[name]


def search_sections(geometry: Geometry) -> list[PfnRange]:
    """Sections to search in: section 0 and those from ZONE_NORMAL's first on."""
    size = geometry.pages_per_section
    nr_sections = geometry.all_pfns.end_pfn // size
    first = max(1, -(-max(geometry.max_dma_pfn, geometry.max_dma32_pfn) // size))
    high = range(first, min(nr_sections, first + MAX_WINDOW - 1))
    return [geometry.section_pfns(nr) for nr in (0, *high)]


def _part(section: PfnRange, first: int, last: int) -> PfnRange:
    """Quarters *first* to *last* of a section."""
    quarter = section.nr_pages // 4
    return PfnRange(section.start_pfn + first * quarter, section.start_pfn + last * quarter)


@layout
def collision(geometry: Geometry) -> BootLayout:
    """RAM that ends in the middle of a section; the rest of it is a hole.

    ```
    section      0          1          2 ...
             [RAM RAM] [RAM   hole] [        ]
    ```
    """
    sections = search_sections(geometry)
    ram = ((sections[0], 0), (_part(sections[1], 0, 2), 0))
    return BootLayout(ram=ram, window=tuple(sections))


@layout
def boot_reserved(geometry: Geometry) -> BootLayout:
    """Two full sections of RAM, of the second of which boot allocated the last half."""
    sections = search_sections(geometry)
    ram = ((sections[0], 0), (sections[1], 0))
    return BootLayout(ram=ram, window=tuple(sections), reserved=(_part(sections[1], 2, 4),))


@layout
def stale(geometry: Geometry) -> BootLayout:
    """As collision, without memmap poisoning."""
    return replace(collision(geometry), page_poisoning=False)


@layout
def leading_hole(geometry: Geometry) -> BootLayout:
    """RAM that begins in the middle of a section, behind a full one."""
    sections = search_sections(geometry)
    ram = ((sections[0], 0), (_part(sections[1], 1, 4), 0))
    return BootLayout(ram=ram, window=tuple(sections), page_poisoning=False)


@layout
def two_nodes(geometry: Geometry) -> BootLayout:
    """A full section on each of two nodes, movable by default."""
    sections = search_sections(geometry)
    ram = ((sections[0], 0), (sections[1], 1))
    return BootLayout(ram=ram, window=tuple(sections), nodes=2, movable_node=True)


@layout
def memmap_on_memory(geometry: Geometry) -> BootLayout:
    """Hotplugged blocks hold their own memmap where they can."""
    return replace(collision(geometry), memmap_on_memory=True)


@layout
def auto_online(geometry: Geometry) -> BootLayout:
    """memhp_default_state=online_movable."""
    movable = OnlineType.MMOP_ONLINE_MOVABLE
    return replace(collision(geometry), memhp_default_state=movable, page_poisoning=False)


@layout
def large_blocks(geometry: Geometry) -> BootLayout:
    """Memory blocks of two sections; boot memory is one full block."""
    sections = search_sections(geometry)
    start = sections[1].start_pfn - sections[1].start_pfn % (2 * geometry.pages_per_section)
    pair = PfnRange(start, start + 2 * geometry.pages_per_section)
    window = tuple(s for s in sections if not pair.overlaps(s))
    return BootLayout(
        ram=((pair, 0),), window=tuple(sorted((pair, *window))), sections_per_block=2
    )


@layout
def holes_in_zone(geometry: Geometry) -> BootLayout:
    """RAM that ends in the middle of a subsection, where holes have no struct pages."""
    sections = search_sections(geometry)
    half = _part(sections[1], 0, 2)
    odd = PfnRange(half.start_pfn, half.end_pfn - max(1, geometry.pages_per_subsection // 2))
    return BootLayout(ram=((sections[0], 0), (odd, 0)), window=tuple(sections), holes_in_zone=True)


@layout
def classic_sparse(geometry: Geometry) -> BootLayout:
    """Without SPARSEMEM_VMEMMAP: a section's memmap is one allocation; no part is added."""
    sections = search_sections(geometry)
    ram = ((sections[0], 0), (sections[1], 0))
    return BootLayout(ram=ram, window=tuple(sections), sparsemem_vmemmap=False)


@layout
def xen(geometry: Geometry) -> BootLayout:
    """A guest of Xen: memory that goes online is in the balloon at first."""
    return replace(collision(geometry), hypervisor="xen")


@layout
def hyper_v(geometry: Geometry) -> BootLayout:
    """A guest of Hyper-V, which adds whole blocks and backs some of their pages."""
    return replace(collision(geometry), hypervisor="hyper-v")


@layout_on_request
def node_two(geometry: Geometry) -> BootLayout:
    """A full section on node 0 and one on node 2; if it is asked for."""
    sections = search_sections(geometry)
    ram = ((sections[0], 0), (sections[1], 2))
    return BootLayout(ram=ram, window=tuple(sections), nodes=3)


@layout_on_request
def hugetlb(geometry: Geometry) -> BootLayout:
    """hugetlb_free_vmemmap=on; two full sections, and memory goes online movable; if it is
    asked for."""
    return replace(
        auto_online(geometry), ram=boot_reserved(geometry).ram, hugetlb_free_vmemmap=True
    )


@layout_on_request
def unsafe_unplug(geometry: Geometry) -> BootLayout:
    """virtio_mem.bbm_safe_unplug=0, and memory goes online movable; if it is asked for."""
    return replace(auto_online(geometry), bbm_safe_unplug=False)


@layout_on_request
def shared_section(geometry: Geometry) -> BootLayout:
    """Node 1 has a section and half of the next, node 0 the other half; if it is asked for.

    The node with the greater number comes first, so that it is initialised last.
    """
    sections = search_sections(geometry)
    ram = ((sections[0], 1), (_part(sections[1], 0, 2), 1), (_part(sections[1], 2, 4), 0))
    return BootLayout(ram=ram, window=tuple(sections), nodes=2)
