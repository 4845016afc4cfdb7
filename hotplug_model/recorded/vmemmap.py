"""Comparing the memory behind the memmap with what was recorded of it.

Which page the kernel takes is determined where an altmap or the block itself gives it,
and for what boot took in one piece: there it must be the very one. What the buddy
allocator gives may be any memory that it has; but how many pages there are, and which
pages of vmemmap share one, is determined as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np

from hotplug_model.flags import MappingLevel, MemmapOrigin, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange, merge_ranges
from hotplug_model.recorded.backing import Backing, modelled_backing, recorded_backing
from hotplug_model.recorded.tally import Tally
from hotplug_model.state.resource import SYSTEM_RAM

COUNTERS = ("nr_memmap_pages", "nr_memmap_boot_pages")
COUNTER_RANGE = 1 << 64
"""Counters are unsigned long; from one that is too small the kernel subtracts all the same."""
BUDDY = "the buddy allocator"


def compare_vmstat(kernel: Kernel, vmstat: dict[str, int], tally: Tally) -> None:
    """Compare the counters of memmap pages, which 6.10 and later have."""
    for name in COUNTERS:
        if name in vmstat:
            tally.compare(name, "vmstat", vmstat[name], getattr(kernel, name) % COUNTER_RANGE)


def compare_vmemmap(kernel: Kernel, recorded: dict[str, list[list[Any]]], tally: Tally) -> None:
    """Compare the rows of every range, wherever neither side changes."""
    labels = [label for label, rows in recorded.items() for _ in rows]
    rows = [row for rows in recorded.values() for row in rows]
    seen = recorded_backing(kernel.geometry, rows)
    model = modelled_backing(kernel, seen.page)
    mapped = int(np.count_nonzero(model.mapped))
    tally.compare("mapped pages of vmemmap", "all ranges", sum(row[4] for row in rows), mapped)
    tally.compare("pages behind vmemmap", "all ranges", seen.nr_frames, model.nr_frames)
    memory = KernelMemory.of(kernel)
    for part in alike(seen, model):
        pages = PfnRange(int(seen.page[part.start]), int(seen.page[part.stop - 1]) + 1)
        where = f"{labels[seen.run[part.start]]} {kernel.geometry.described_by(pages)}"
        compare_part(seen, model, part, where, memory, tally)


def alike(seen: Backing, model: Backing) -> Iterator[slice]:
    """Parts in which both sides map page behind page alike."""
    breaks = (np.diff(seen.run) != 0) | (np.diff(model.run) != 0) | (np.diff(seen.page) != 1)
    cuts = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(seen.page)]
    return (slice(start, end) for start, end in pairwise(cuts))


def compare_part(
    seen: Backing, model: Backing, part: slice, where: str, memory: KernelMemory, tally: Tally
) -> None:
    """Compare how a part is mapped, with what it shares memory, and which that is or whose."""
    first, nr_pages = part.start, part.stop - part.start
    level, expected = int(seen.level[first]), int(model.level[first])
    tally.compare("level of vmemmap", where, level, expected)
    if MappingLevel.NONE in (level, expected):
        return
    sharer, other = seen.first_sharer[part], model.first_sharer[part]
    odd = int((sharer != other).argmax())
    tally.compare("page on the same memory", where, int(sharer[odd]), int(other[odd]))
    frame, expected = int(seen.frame[first]), int(model.frame[first])
    if expected >= 0:
        tally.compare("page behind vmemmap", where, frame, expected)
    else:
        owner = memory.owner(PfnRange(frame, frame + nr_pages))
        tally.compare("whose memory is behind vmemmap", where, owner, BUDDY)


@dataclass(frozen=True, slots=True)
class KernelMemory:
    """What the buddy allocator may give to the kernel for itself, and what it may not."""

    claims: list[tuple[str, PfnRange]]
    online: tuple[PfnRange, ...]
    ram: tuple[PfnRange, ...]

    @classmethod
    def of(cls, kernel: Kernel) -> Self:
        """As *kernel* is now."""
        x = kernel.extents()
        # Vmemmap cannot move, so that ZONE_MOVABLE never holds it.
        online = np.flatnonzero(x.online_page & (x.zone < ZoneType.ZONE_MOVABLE))
        starts, ends = x.start_pfn[online].tolist(), x.end_pfn[online].tolist()
        pfns = merge_ranges(map(PfnRange, starts, ends))
        return cls(list(claims(kernel)), pfns, tuple(kernel.iomem.merged(SYSTEM_RAM)))

    def owner(self, frames: PfnRange) -> str:
        """Whose *frames* are, of what is known."""
        for name, pfns in self.claims:
            if pfns.overlaps(frames):
                return f"{name} {pfns}"
        if not any(pfns.contains(frames) for pfns in self.online):
            return "nobody's: not online"
        if not any(pfns.contains(frames) for pfns in self.ram):
            return "nobody's: no System RAM"
        return BUDDY


def claims(kernel: Kernel) -> Iterator[tuple[str, PfnRange]]:
    """Memory that the buddy allocator does not have."""
    maps = [pgmap.altmap for pgmap in kernel.pgmaps.values()]
    blocks = [block.altmap for block in kernel.blocks.values()]
    for altmap in (*maps, *blocks):
        if altmap is not None:
            yield "altmap", PfnRange(altmap.base_pfn, altmap.base_pfn + altmap.offset)
    if kernel.layout.memmap_start is not None:
        for pages, row in kernel.vmemmap.runs_of(kernel.geometry.vmemmap_pages):
            if row["origin"] == MemmapOrigin.BOOT:
                offset = row["offset"]
                yield "boot memmap", PfnRange(pages.start_pfn + offset, pages.end_pfn + offset)
