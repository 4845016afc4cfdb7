"""Memory that breaks: writes to /sys/devices/system/memory/hard_offline_page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.errors import UserError
from hotplug_model.extents import Extents
from hotplug_model.flags import PageFlag, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.mm import memory_failure
from hotplug_model.ops.draw import pick, rarely
from hotplug_model.ops.op import MAX_PFN, Chooser, Op
from hotplug_model.pfn import PfnRange
from hotplug_model.steps import Steps

MAX_BROKEN = 2


def sound_pages(kernel: Kernel) -> list[PfnRange]:
    """Ranges of online pages, then of pages of devices, that are alike and not broken."""
    x = kernel.extents()
    sound = ~x.page_has(PageFlag.PG_hwpoison)
    found = [*np.flatnonzero(data_pages(x) & sound).tolist()]
    found += np.flatnonzero(x.is_online_ram & x.online_page & sound).tolist()
    return [PfnRange(int(x.start_pfn[row]), int(x.end_pfn[row])) for row in found]


def data_pages(x: Extents) -> ExtentMask:
    """Device pages of a live map that hold no memmap."""
    rows: ExtentMask = x.is_zone_device & (x.dev_pagemap >= 0) & (x.page_pgmap >= 0)
    return rows


def nr_broken(kernel: Kernel) -> int:
    """Pages that broke in memory blocks and in devices."""
    x = kernel.extents()
    of_devices = data_pages(x) & x.page_has(PageFlag.PG_hwpoison)
    in_blocks = sum(len(block.broken) for block in kernel.blocks.values())
    return in_blocks + int(np.count_nonzero(of_devices))


@dataclass(frozen=True)
class HardOfflinePage(Op):
    """Tell the kernel that the memory of a page is broken, as a machine check does."""

    pfn: int
    mapped: bool = field(default=False, metadata={"optional": True})
    """Whether a file of a DAX device has the page; no matter for System RAM."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.pfn < MAX_PFN:
            raise UserError("hard_offline_page.pfn: expected a page frame number")

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether a page is sound and not too many are broken."""
        return nr_broken(kernel) < MAX_BROKEN and bool(sound_pages(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """The first or the last of some pages that are alike, those of a device mostly in
        a file; rarely any page."""
        if rarely(choose):
            return cls(pick(choose, kernel.pfns.start_pfn.tolist()))
        pfns = pick(choose, sound_pages(kernel)[::-1])
        pfn = pick(choose, sorted({pfns.start_pfn, pfns.end_pfn - 1}))
        in_device = kernel.pfns.at(pfn, "zone") == ZoneType.ZONE_DEVICE
        return cls(pfn, mapped=in_device and not rarely(choose, 4))

    def pfns_touched(self) -> list[PfnRange]:
        """The page."""
        return [PfnRange(self.pfn, self.pfn + 1)]

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.memory_failure.memory_failure`."""
        yield from memory_failure.memory_failure(kernel, self.pfn, self.mapped)
