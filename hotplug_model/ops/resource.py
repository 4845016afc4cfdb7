"""Drivers that claim and give back physical ranges: request_mem_region()."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import ClassVar, Self

from hotplug_model.errors import KernelRefusal
from hotplug_model.kernel import Kernel
from hotplug_model.ops.draw import free_ranges, pick, rarely, subsections
from hotplug_model.ops.op import Chooser, Op
from hotplug_model.pfn import PfnRange
from hotplug_model.state.resource import Resource
from hotplug_model.steps import Steps

DRIVER = "driver"
MAX_REGIONS = 3


@dataclass(frozen=True)
class RequestMemRegion(Op):
    """Claim a range for a driver."""

    pfns: PfnRange

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether another region may exist."""
        return len(kernel.iomem.named(DRIVER)) < MAX_REGIONS

    @classmethod
    def promising(cls, kernel: Kernel) -> bool:
        """Whether a subsection is free."""
        return bool(free_ranges(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """Mostly free subsections."""
        free = free_ranges(kernel)
        pool = free if free and not rarely(choose) else list(kernel.layout.window)
        return cls(subsections(kernel, choose, pick(choose, pool)))

    def steps(self, kernel: Kernel) -> Steps:
        """Refuses with -EBUSY where the kernel returns NULL: a busy region overlaps.

        Source: __request_region(), kernel/resource.c.
        """
        if self.pfns.nr_pages <= 0 or not kernel.iomem.request(Resource(DRIVER, self.pfns)):
            raise KernelRefusal(errno.EBUSY)
        yield "request_mem_region"


@dataclass(frozen=True)
class ReleaseMemRegion(Op):
    """Give back a range that a driver claimed."""

    weight: ClassVar[int] = 3
    pfns: PfnRange

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether a driver holds a region."""
        return bool(kernel.iomem.named(DRIVER))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """Any region of a driver."""
        return cls(pick(choose, kernel.iomem.named(DRIVER)))

    def steps(self, kernel: Kernel) -> Steps:
        """Refuses with -ENOENT where the kernel warns of a nonexistent region."""
        if self.pfns not in kernel.iomem.named(DRIVER):
            raise KernelRefusal(errno.ENOENT)
        kernel.iomem.release(self.pfns)
        yield "release_mem_region"
