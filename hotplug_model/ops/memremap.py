"""Device memory coming and going: memremap_pages() and its release."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import ClassVar, Self

from hotplug_model.errors import KernelRefusal, UserError
from hotplug_model.flags import MemoryType
from hotplug_model.kernel import Kernel
from hotplug_model.mm import memremap
from hotplug_model.ops.draw import free_ranges, pick, rarely, subsections
from hotplug_model.ops.op import Chooser, Op
from hotplug_model.pfn import PfnRange
from hotplug_model.registry import unknown
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.dev_pagemap import DevPagemap, has_type
from hotplug_model.steps import Steps

TYPES = {
    "fs_dax": MemoryType.MEMORY_DEVICE_FS_DAX,
    "generic": MemoryType.MEMORY_DEVICE_GENERIC,
    "private": MemoryType.MEMORY_DEVICE_PRIVATE,
    "coherent": MemoryType.MEMORY_DEVICE_COHERENT,
    "pci_p2pdma": MemoryType.MEMORY_DEVICE_PCI_P2PDMA,
    "public": MemoryType.MEMORY_DEVICE_PUBLIC,
}
LACKS = sorted({part for parts in memremap.REQUIRED.values() for part in parts})
MAX_PGMAPS = 4
MAX_VMEMMAP_SHIFT = 40


@dataclass(frozen=True)
class MemremapPages(Op):
    """Map ranges as ZONE_DEVICE, perhaps with an altmap at the start of the first."""

    pgmap_id: int
    ranges: tuple[PfnRange, ...]
    type: str
    nid: int
    altmap: tuple[int, ...]
    """``(reserve, free)`` in pages, or empty."""
    vmemmap_shift: int = 0
    """Order of the compound pages."""
    lacks: str = field(default="", metadata={"optional": True})
    """What the driver forgot to say of those in ``REQUIRED``; nothing if empty."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.type not in TYPES:
            raise UserError(unknown("pgmap type", self.type, TYPES))
        if len(self.altmap) not in (0, 2) or min(self.altmap, default=0) < 0:
            raise UserError("memremap_pages.altmap: expected [] or [reserve, free]")
        if not 0 <= self.pgmap_id < 64:
            raise UserError("memremap_pages.pgmap_id: expected 0 to 63")
        if any(pfns.start_pfn < 0 or pfns.nr_pages <= 0 for pfns in self.ranges):
            raise UserError("memremap_pages.ranges: a range is empty or negative")
        if self.lacks and self.lacks not in LACKS:
            raise UserError(unknown("part of a pgmap", self.lacks, LACKS))
        if not 0 <= self.vmemmap_shift <= MAX_VMEMMAP_SHIFT:
            raise UserError("memremap_pages.vmemmap_shift: expected 0 to 40")

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether another map may exist."""
        return len(kernel.pgmaps) < MAX_PGMAPS

    @classmethod
    def promising(cls, kernel: Kernel) -> bool:
        """Whether a subsection is free."""
        return bool(free_ranges(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """Mostly free subsections; sometimes taken ones, two ranges, or an altmap."""
        pgmap_id = next(i for i in range(MAX_PGMAPS) if i not in kernel.pgmaps)
        free = free_ranges(kernel)
        pool = free if free and not rarely(choose, 12) else list(kernel.layout.window)
        first = subsections(kernel, choose, pick(choose, pool))
        kind = pick(choose, types(kernel)) if rarely(choose, 3) else "generic"
        nid = choose.index(kernel.layout.nodes)
        ranges: tuple[PfnRange, ...] = (first,)
        if rarely(choose, 6):
            ranges = (first, subsections(kernel, choose, pick(choose, pool)))
        often = 2 if all_huge(kernel) else 4
        altmap = draw_altmap(kernel, choose, first) if rarely(choose, often) else ()
        shift = 0 if altmap or not rarely(choose, 2) else draw_shift(kernel, choose, ranges)
        lacks = ""
        # Last, for it leaves few bits of a packed choice to what follows.
        if rarely(choose, 24):
            odd = PfnRange(first.start_pfn + 1, first.end_pfn + 1)
            ranges, lacks = pick(choose, [((odd,), ""), ((), ""), (ranges, pick(choose, LACKS))])
        kind = "private" if lacks and "private" in types(kernel) else kind
        return cls(pgmap_id, ranges, kind, nid, altmap, shift, lacks)

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.memremap.memremap_pages`.

        Refuses with -EBUSY if the id is in use: a driver has its map once.
        """
        yield from kernel.locks.take(device_lock(self.pgmap_id))
        try:
            if self.pgmap_id in kernel.pgmaps:
                raise KernelRefusal(errno.EBUSY)
            pgmap = self.pgmap(kernel)
            yield from memremap.memremap_pages(kernel, self.pgmap_id, pgmap, self.lacks)
        finally:
            kernel.locks.drop(device_lock(self.pgmap_id))

    def pgmap(self, kernel: Kernel) -> DevPagemap:
        """What the driver hands over."""
        altmap = None
        if self.altmap and self.ranges:
            reserve, free = self.altmap
            first = self.ranges[0]
            altmap = Altmap(
                base_pfn=first.start_pfn, reserve=reserve, free=free, end_pfn=first.end_pfn
            )
        nid = self.nid if self.nid in kernel.nodes else 0
        return DevPagemap(
            ranges=self.ranges, type=TYPES[self.type], nid=nid, altmap=altmap,
            vmemmap_shift=self.vmemmap_shift,
        )  # fmt: skip


def types(kernel: Kernel) -> list[str]:
    """Those that the kernel has."""
    return [name for name, kind in TYPES.items() if has_type(kernel.rules, kind)]


def device_lock(pgmap_id: int) -> str:
    """The lock of the device that has the map: a driver is bound and unbound under it.

    Source: driver_probe_device(), device_release_driver() in drivers/base/dd.c.
    """
    return f"device {pgmap_id} device_lock"


def all_huge(kernel: Kernel) -> bool:
    """Whether vmemmap has huge mappings only, of which few devices can give one."""
    return kernel.geometry.arch == "powerpc"


def draw_altmap(kernel: Kernel, choose: Chooser, pfns: PfnRange) -> tuple[int, int]:
    """Room for the memmap of *pfns*, or a little less, or as much as fits.

    On powerpc every mapping is huge and aligned to its size: what is reserved in front of it
    mostly leaves no room for one, and is rare.
    """
    geometry, most = kernel.geometry, pfns.nr_pages - 1
    unit = geometry.huge_pages if all_huge(kernel) else geometry.memmap_pages_per_section
    needed = len(geometry.sections_of(pfns)) * unit
    reserve = min(int(rarely(choose)) if all_huge(kernel) else pick(choose, [0, 1]), most)
    free = pick(choose, [needed + unit, needed, unit, needed - 1])
    return reserve, max(0, min(free, most - reserve))


def draw_shift(kernel: Kernel, choose: Chooser, ranges: tuple[PfnRange, ...]) -> int:
    """An order to which every range is aligned, as dax devices are."""
    ends = [pfn for pfns in ranges for pfn in (pfns.start_pfn, pfns.end_pfn)]
    most = min(((pfn & -pfn).bit_length() - 1 for pfn in ends if pfn), default=0)
    return most - choose.index(most + 1)


@dataclass(frozen=True)
class MemunmapPages(Op):
    """Release a map and all of its ranges."""

    weight: ClassVar[int] = 3
    pgmap_id: int

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether there is a map."""
        return bool(kernel.pgmaps)

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """Any map."""
        return cls(pick(choose, sorted(kernel.pgmaps)))

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.memremap.memunmap_pages`.

        Refuses with -ENOENT without such a map.
        """
        yield from kernel.locks.take(device_lock(self.pgmap_id))
        try:
            if self.pgmap_id not in kernel.pgmaps:
                raise KernelRefusal(errno.ENOENT)
            yield from memremap.memunmap_pages(kernel, self.pgmap_id)
        finally:
            kernel.locks.drop(device_lock(self.pgmap_id))
