"""A pfn walker that takes time: it looks a page up now and reads it later."""

from __future__ import annotations

from dataclasses import dataclass

from hotplug_model.errors import UserError
from hotplug_model.kernel import Kernel
from hotplug_model.ops.op import MAX_PFN, Op
from hotplug_model.pfn import PfnRange
from hotplug_model.steps import Steps
from hotplug_model.walkers import READERS
from hotplug_model.walkers.reader import walk


@dataclass(frozen=True)
class Walk(Op):
    """Let a walker come to a pfn, look it up, and read its struct page if it gets one.

    Never refuses. What it must not read it reads all the same, and that is a violation.
    """

    walker: str
    pfn: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = READERS[self.walker]
        if not 0 <= self.pfn < MAX_PFN:
            raise UserError("walk.pfn: expected a page frame number")

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Never by itself: alone it sees what walkers that take no time see."""
        return False

    def pfns_touched(self) -> list[PfnRange]:
        """The pfn that it comes to."""
        return [PfnRange(self.pfn, self.pfn + 1)]

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.walkers.reader.walk`."""
        yield from walk(kernel, READERS[self.walker], self.pfn)
