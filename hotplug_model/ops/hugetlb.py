"""The pool of HugeTLB pages: writes to nr_hugepages, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from hotplug_model.kernel import Kernel
from hotplug_model.mm.hugetlb import (
    alloc_pool_huge_folio,
    in_one_zone,
    update_and_free_hugetlb_folio,
)
from hotplug_model.ops.draw import idle_pages, pick, rarely
from hotplug_model.ops.op import Chooser, Op
from hotplug_model.pfn import PfnRange, merge_ranges
from hotplug_model.steps import Steps

MAX_HUGE = 2


def free_ranges(kernel: Kernel) -> list[PfnRange]:
    """What could be a huge page, the smallest first; of each size the first and the last."""
    found: list[PfnRange] = []
    idle = merge_ranges(idle_pages(kernel))
    for size in kernel.geometry.hugetlb_sizes:
        fits = []
        for whole in idle:
            first, last = -(-whole.start_pfn // size) * size, whole.end_pfn // size * size - size
            starts = dict.fromkeys((first, last)) if first <= last else {}
            fits += [PfnRange(start, start + size) for start in starts]
        both = dict.fromkeys((*fits[:1], *fits[-1:]))
        found += [pfns for pfns in both if in_one_zone(kernel, pfns)]
    return found


@dataclass(frozen=True)
class AllocPoolHugeFolio(Op):
    """Make a range of free pages a huge page of the pool."""

    on_request: ClassVar[bool] = True
    pfns: PfnRange

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether vmemmap of such pages is given back and one can be had."""
        wanted = kernel.layout.hugetlb_free_vmemmap and len(kernel.hugetlb) < MAX_HUGE
        return wanted and bool(free_ranges(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """A free range of the size of a huge page; rarely one that is not aligned."""
        pfns = pick(choose, free_ranges(kernel))
        odd = rarely(choose)
        return cls(PfnRange(pfns.start_pfn + odd, pfns.end_pfn + odd))

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.hugetlb.alloc_pool_huge_folio`."""
        yield from alloc_pool_huge_folio(kernel, self.pfns)


@dataclass(frozen=True)
class UpdateAndFreeHugetlbFolio(Op):
    """Give a huge page of the pool back."""

    on_request: ClassVar[bool] = True
    pfns: PfnRange

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether there is one."""
        return bool(kernel.hugetlb)

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """Any of them."""
        return cls(pick(choose, kernel.hugetlb))

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.hugetlb.update_and_free_hugetlb_folio`."""
        yield from update_and_free_hugetlb_folio(kernel, self.pfns)
