"""Device memory that becomes System RAM: the kmem driver is bound to a dax device."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import ClassVar, Self

from hotplug_model.errors import KernelRefusal, UserError
from hotplug_model.kernel import Kernel
from hotplug_model.mm.dax_kmem import dev_dax_kmem_probe, dev_dax_kmem_remove
from hotplug_model.ops.draw import (
    block_range,
    blocks_outside,
    empty_blocks,
    lent_by_hypervisor,
    pick,
    rarely,
)
from hotplug_model.ops.op import Chooser, Op
from hotplug_model.pfn import PfnRange
from hotplug_model.state.resource import KMEM
from hotplug_model.steps import Steps


@dataclass(frozen=True)
class DaxKmemProbe(Op):
    """Bind the driver to a device that has *ranges*; there is one at a time."""

    weight: ClassVar[int] = 2
    ranges: tuple[PfnRange, ...]
    nid: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(pfns.nr_pages <= 0 or pfns.start_pfn < 0 for pfns in self.ranges):
            raise UserError("dax_kmem_probe.ranges: a range is empty or negative")

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether no device is bound and there is room for one."""
        return not kernel.iomem.named(KMEM) and bool(empty_blocks(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """One or two empty blocks that touch; rarely less than a block, some more than one, or
        a second range, before or behind, that somebody has."""
        empty = empty_blocks(kernel)
        pfns = block_range(kernel, choose, pick(choose, empty), empty)
        nid = choose.index(kernel.layout.nodes)
        ranges: tuple[PfnRange, ...] = (pfns,)
        if rarely(choose, 6):
            size = kernel.geometry.pages_per_subsection
            devices = blocks_outside(kernel, lent_by_hypervisor(kernel))
            taken = [kernel.block_pfns(b) for b in devices if b not in empty]
            others = [(pfns, taken[0]), (taken[-1], pfns)] if taken else []
            part = PfnRange(pfns.start_pfn, pfns.start_pfn + size)
            odd = PfnRange(max(pfns.start_pfn - size, 0), pfns.end_pfn)
            ranges = pick(choose, [(part,), (odd,), *others])
        return cls(ranges, nid)

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.dax_kmem.dev_dax_kmem_probe`.

        Refuses with -EBUSY while a device is bound.
        """
        yield from kernel.locks.take(DEVICE_LOCK)
        try:
            if kernel.iomem.named(KMEM):
                raise KernelRefusal(errno.EBUSY)
            nid = self.nid if self.nid < 0 or self.nid in kernel.nodes else 0
            yield from dev_dax_kmem_probe(kernel, self.ranges, nid)
        finally:
            kernel.locks.drop(DEVICE_LOCK)


@dataclass(frozen=True)
class DaxKmemRemove(Op):
    """Unbind the driver, whatever is online."""

    weight: ClassVar[int] = 3

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether a device is bound."""
        return bool(kernel.iomem.named(KMEM))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """There is one device."""
        return cls()

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.dax_kmem.dev_dax_kmem_remove`.

        Refuses with -ENODEV without a device.
        """
        yield from kernel.locks.take(DEVICE_LOCK)
        try:
            if not kernel.iomem.named(KMEM):
                raise KernelRefusal(errno.ENODEV)
            yield from dev_dax_kmem_remove(kernel)
        finally:
            kernel.locks.drop(DEVICE_LOCK)


DEVICE_LOCK = "dax device_lock"
"""Under which the driver is bound and unbound."""
