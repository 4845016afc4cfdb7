"""Pages that somebody holds: pins, which keep memory from going offline."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import ClassVar, Self

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import PageUser
from hotplug_model.kernel import Kernel
from hotplug_model.mm.page_alloc import PCPLIST, free_unref_page, is_isolated
from hotplug_model.ops.draw import idle_pages, pick
from hotplug_model.ops.op import Chooser, Op
from hotplug_model.pfn import PfnRange
from hotplug_model.steps import Steps

MAX_PINNED = 2


def held_pages(kernel: Kernel) -> list[PfnRange]:
    """Pages on which somebody has a reference that nothing else is known of."""
    x = kernel.extents()
    return list(x.where((x.users & PageUser.LONGTERM) != 0))


@dataclass(frozen=True)
class PinPages(Op):
    """Take a reference on each page of a range, as a long-term pin does."""

    pfns: PfnRange

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether a page is free to be held and not too many are."""
        return len(held_pages(kernel)) < MAX_PINNED and bool(idle_pages(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """The first or the last page of a range of online pages."""
        pfns = pick(choose, idle_pages(kernel))
        pfn = pick(choose, sorted({pfns.start_pfn, pfns.end_pfn - 1}))
        return cls(PfnRange(pfn, pfn + 1))

    def steps(self, kernel: Kernel) -> Steps:
        """Refuses with -EBUSY unless every page is online and free.

        Source: alloc_contig_range(), mm/page_alloc.c.
        """
        if not any(pfns.contains(self.pfns) for pfns in idle_pages(kernel)):
            raise KernelRefusal(errno.EBUSY)
        kernel.pfns.add(self.pfns, "refcount", 1)
        kernel.pfns.set_bits(self.pfns, "users", PageUser.LONGTERM)
        yield "get_page"


@dataclass(frozen=True)
class UnpinPages(Op):
    """Drop the reference on each page of a range."""

    weight: ClassVar[int] = 2
    pfns: PfnRange

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether somebody holds a page."""
        return bool(held_pages(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """Any range of pages that is held."""
        return cls(pick(choose, held_pages(kernel)))

    def steps(self, kernel: Kernel) -> Steps:
        """Refuses with -EINVAL unless every page is held.

        Source: put_page(), free_unref_page() in mm/page_alloc.c.
        """
        if not any(pfns.contains(self.pfns) for pfns in held_pages(kernel)):
            raise KernelRefusal(errno.EINVAL)
        on_a_cpu = not is_isolated(kernel, self.pfns)
        if on_a_cpu:
            kernel.rcu.load(PCPLIST, kernel.locks.context)
        yield "get_pfnblock_migratetype"
        kernel.pfns.add(self.pfns, "refcount", -1)
        kernel.pfns.clear_bits(self.pfns, "users", PageUser.LONGTERM)
        if on_a_cpu:
            kernel.rcu.read(PCPLIST, kernel.locks.context)
            free_unref_page(kernel, self.pfns)
        yield "put_page"
