"""virtio-mem: a hypervisor that lends memory and wants it back."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import ClassVar, Self

from hotplug_model.errors import KernelRefusal, UserError
from hotplug_model.kernel import Kernel
from hotplug_model.mm import virtio_mem_driver
from hotplug_model.mm.arch_memory import arch_memory
from hotplug_model.mm.virtio_mem import device_of
from hotplug_model.ops.draw import empty_blocks, pick, rarely, window_blocks
from hotplug_model.ops.op import Chooser, Op
from hotplug_model.pfn import PfnRange
from hotplug_model.state.virtio_mem import VirtioMem
from hotplug_model.steps import Steps


@dataclass(frozen=True)
class VirtioMemProbe(Op):
    """Load the driver of a device; *device_block_pages* is what the hypervisor maps at a time."""

    weight: ClassVar[int] = 2
    pfns: PfnRange
    nid: int
    device_block_pages: int
    force_bbm: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pfns.nr_pages <= 0 or self.device_block_pages <= 0:
            raise UserError("virtio_mem_probe: sizes must be positive")

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether the driver is not loaded yet and there is room.

        Where no memory is ever removed there is no driver: CONFIG_VIRTIO_MEM depends on
        CONFIG_MEMORY_HOTREMOVE.
        """
        removes = arch_memory(kernel).removal_errno is None
        return removes and not is_virtio_mem(kernel) and bool(empty_blocks(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """One or two empty blocks that touch, in sub-block or in big-block mode; rarely RAM."""
        empty = empty_blocks(kernel)
        taken = [b for b in window_blocks(kernel) if kernel.iomem.system_ram(kernel.block_pfns(b))]
        first = pick(choose, taken if taken and rarely(choose) else empty)
        last = first + 1 if first + 1 in empty and choose.index(2) else first
        pfns = PfnRange(kernel.block_pfns(first).start_pfn, kernel.block_pfns(last).end_pfn)
        nid = choose.index(kernel.layout.nodes)
        return cls(pfns, nid, kernel.geometry.pageblock_nr_pages, bool(choose.index(2)))

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.virtio_mem_driver.probe`."""
        nid = self.nid if self.nid in kernel.nodes else 0
        return virtio_mem_driver.probe(
            kernel, self.pfns, nid, self.device_block_pages, self.force_bbm
        )


def is_virtio_mem(kernel: Kernel) -> bool:
    """Whether the driver is loaded."""
    return isinstance(kernel.lender, VirtioMem)


@dataclass(frozen=True)
class VirtioMemRequest(Op):
    """The hypervisor changes how much of its memory the machine shall use."""

    weight: ClassVar[int] = 2
    requested_pages: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.requested_pages < 0:
            raise UserError("virtio_mem_request.requested_pages: must not be negative")

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether the driver is loaded."""
        return is_virtio_mem(kernel)

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """Nothing, all, or any number of parts; rarely more than there is."""
        vm = device_of(kernel)
        most = vm.region.nr_pages // vm.part_pages
        return cls(choose.index(most + 2) * vm.part_pages)

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.virtio_mem_driver.config_changed`.

        Refuses with -ENODEV without a driver.
        """
        if not is_virtio_mem(kernel):
            raise KernelRefusal(errno.ENODEV)
        yield from virtio_mem_driver.config_changed(kernel, self.requested_pages)


@dataclass(frozen=True)
class VirtioMemRemove(Op):
    """Unload the driver, whatever is plugged."""

    weight: ClassVar[int] = 3

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether the driver is loaded."""
        return is_virtio_mem(kernel)

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """There is one device."""
        return cls()

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.virtio_mem_driver.remove`.

        Refuses with -ENODEV without a driver.
        """
        if not is_virtio_mem(kernel):
            raise KernelRefusal(errno.ENODEV)
        yield from virtio_mem_driver.remove(kernel)
