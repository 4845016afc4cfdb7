"""Memory that breaks: writes to /sys/devices/system/memory/hard_offline_page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from hotplug_model.errors import UserError
from hotplug_model.flags import PageFlag
from hotplug_model.kernel import Kernel
from hotplug_model.mm import memory_failure
from hotplug_model.ops.draw import pick, rarely
from hotplug_model.ops.op import MAX_PFN, Chooser, Op
from hotplug_model.pfn import PfnRange
from hotplug_model.steps import Steps

MAX_BROKEN = 2


def sound_pages(kernel: Kernel) -> list[PfnRange]:
    """Ranges of online pages that are alike and not broken."""
    x = kernel.extents()
    rows = x.is_online_ram & x.online_page & (x.page_flags & PageFlag.PG_hwpoison == 0)
    found = np.flatnonzero(rows).tolist()
    return [PfnRange(int(x.start_pfn[row]), int(x.end_pfn[row])) for row in found]


@dataclass(frozen=True)
class HardOfflinePage(Op):
    """Tell the kernel that the memory of a page is broken, as a machine check does."""

    pfn: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.pfn < MAX_PFN:
            raise UserError("hard_offline_page.pfn: expected a page frame number")

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether a page is sound and not too many are broken."""
        nr_broken = sum(len(block.broken) for block in kernel.blocks.values())
        return nr_broken < MAX_BROKEN and bool(sound_pages(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """The first or the last of some online pages that are alike; rarely any page."""
        if rarely(choose):
            return cls(pick(choose, kernel.pfns.start_pfn.tolist()))
        pfns = pick(choose, sound_pages(kernel)[::-1])
        return cls(pick(choose, sorted({pfns.start_pfn, pfns.end_pfn - 1})))

    def pfns_touched(self) -> list[PfnRange]:
        """The page."""
        return [PfnRange(self.pfn, self.pfn + 1)]

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.memory_failure.memory_failure`."""
        yield from memory_failure.memory_failure(kernel, self.pfn)
