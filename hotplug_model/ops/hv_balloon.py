"""Hyper-V adds memory: it backs some pages, and the guest adds the blocks around them."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import ClassVar, Self

from hotplug_model.errors import KernelRefusal, UserError
from hotplug_model.kernel import Kernel
from hotplug_model.mm import hv_hot_add
from hotplug_model.ops.draw import empty_blocks, pick, rarely
from hotplug_model.ops.op import Chooser, Op
from hotplug_model.pfn import PfnRange
from hotplug_model.state.hv_balloon import HotAddRegion, HvBalloon
from hotplug_model.steps import Steps


@dataclass(frozen=True)
class HotAddReq(Op):
    """The host has put memory behind pages, and wants them to be used."""

    weight: ClassVar[int] = 3
    pfns: PfnRange

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pfns.nr_pages <= 0:
            raise UserError("hot_add_req.pfns: must not be empty")

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether the machine is a guest of Hyper-V and there is room."""
        device = kernel.lender
        able = isinstance(device, HvBalloon) and device.do_hot_add
        return able and bool(regions_of(kernel) or empty_blocks(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """The rest of a block or half of it, or a block, half of one, or one and a half; rarely,
        or if nothing is left, the page before once more, or not the page behind."""
        regions, empty = regions_of(kernel), empty_blocks(kernel)
        if regions and (not empty or choose.index(2) == 0):
            return cls(draw_rest(choose, pick(choose, regions)))
        block, size = pick(choose, empty), kernel.pages_per_block
        lengths = [size // 2, size]
        if block + 1 in empty or rarely(choose):
            lengths.append(size + size // 2)
        start = kernel.block_pfns(block).start_pfn
        return cls(PfnRange(start, start + pick(choose, lengths)))

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.hv_hot_add.hot_add_req`.

        Refuses with -ENODEV but on Hyper-V.
        """
        if not isinstance(kernel.lender, HvBalloon):
            raise KernelRefusal(errno.ENODEV)
        yield from hv_hot_add.hot_add_req(kernel, self.pfns)


def draw_rest(choose: Chooser, region: HotAddRegion) -> PfnRange:
    """What a region lacks, or half of it, from where the host had come to or nearly there."""
    start, rest = region.covered_end_pfn, region.ha_end_pfn - region.covered_end_pfn
    nr_pages = pick(choose, sorted({rest, max(rest // 2, min(rest, 1))}, reverse=True))
    end = start + nr_pages
    if not nr_pages or rarely(choose, 4):
        start += pick(choose, [-1, 1] if nr_pages > 1 else [-1])
    return PfnRange(start, end)


def regions_of(kernel: Kernel) -> list[HotAddRegion]:
    """Regions of which something was added; one that nothing is missing of comes last."""
    assert isinstance(kernel.lender, HvBalloon)
    added = [r for r in kernel.lender.regions if r.ha_end_pfn > r.start_pfn]
    return sorted(added, key=lambda region: region.covered_end_pfn >= region.ha_end_pfn)
