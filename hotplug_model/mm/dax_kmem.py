"""Device memory as System RAM: drivers/dax/kmem.c."""

from __future__ import annotations

import errno

from hotplug_model.errors import KernelRefusal
from hotplug_model.kernel import Kernel
from hotplug_model.mm.memory_hotplug import add_memory, remove_memory
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps


def dax_kmem_range(kernel: Kernel, pfns: PfnRange) -> PfnRange:
    """The whole memory blocks in *pfns*: what of a device can become RAM.

    Source: dax_kmem_range().
    """
    size = kernel.pages_per_block
    return PfnRange(-(-pfns.start_pfn // size) * size, pfns.end_pfn // size * size)


def dev_dax_kmem_probe(kernel: Kernel, pfns: PfnRange, nid: int) -> Steps:
    """Add *pfns* of a device as driver-managed RAM; what fills no memory block is lost.

    Refuses with -EINVAL if no block is filled, and as add_memory().

    # Simplified: a device has one range, and RAM that a driver manages is RAM.

    Source: dev_dax_kmem_probe(), add_memory_driver_managed().
    """
    blocks = dax_kmem_range(kernel, pfns)
    if blocks.nr_pages <= 0:
        raise KernelRefusal(errno.EINVAL)
    yield from add_memory(kernel, nid, blocks, 0)


def dev_dax_kmem_remove(kernel: Kernel, pfns: PfnRange) -> Steps:
    """Remove the RAM again. Refuses with -EBUSY, and the RAM stays, unless all is offline.

    Source: dev_dax_kmem_remove(): the driver is unbound all the same.
    """
    yield from remove_memory(kernel, dax_kmem_range(kernel, pfns))
