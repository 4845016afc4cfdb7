"""The balloon: memory that a hypervisor wants back for a while, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from hotplug_model.flags import ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.mm import xen_balloon
from hotplug_model.ops.draw import idle_pages, pick
from hotplug_model.ops.op import Chooser, Op
from hotplug_model.pfn import PfnRange
from hotplug_model.steps import Steps

MAX_BALLOONED = 2


def idle_and_unmovable(kernel: Kernel) -> list[PfnRange]:
    """Ranges of pages that a balloon may be given."""
    x = kernel.extents()
    idle = x.touched(idle_pages(kernel)) & (x.zone != ZoneType.ZONE_MOVABLE)
    return xen_balloon.outside(kernel, x.where(idle))


@dataclass(frozen=True)
class DecreaseReservation(Op):
    """Inflate the balloon by some pages."""

    pfns: PfnRange

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether a page is free and not too many are in the balloon."""
        small = len(xen_balloon.ballooned_pages(kernel)) < MAX_BALLOONED
        return small and bool(idle_and_unmovable(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """The last or the first page of a range of free pages."""
        pfns = pick(choose, idle_and_unmovable(kernel))
        pfn = pick(choose, sorted({pfns.start_pfn, pfns.end_pfn - 1}, reverse=True))
        return cls(PfnRange(pfn, pfn + 1))

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.xen_balloon.decrease_reservation`."""
        return xen_balloon.decrease_reservation(kernel, self.pfns)


@dataclass(frozen=True)
class IncreaseReservation(Op):
    """Deflate the balloon by some pages."""

    pfns: PfnRange

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether a page is in the balloon."""
        return bool(xen_balloon.ballooned_pages(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """Any range of pages in the balloon, or the first of them."""
        pfns = pick(choose, xen_balloon.ballooned_pages(kernel))
        nr_pages = pick(choose, sorted({pfns.nr_pages, 1}, reverse=True))
        return cls(PfnRange(pfns.start_pfn, pfns.start_pfn + nr_pages))

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.xen_balloon.increase_reservation`."""
        return xen_balloon.increase_reservation(kernel, self.pfns)
