"""Device memory as System RAM: drivers/dax/kmem.c."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from hotplug_model.errors import KernelRefusal
from hotplug_model.kernel import Kernel
from hotplug_model.mm.memory_hotplug import add_memory, remove_memory
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.faults import Allocation
from hotplug_model.state.resource import KMEM, KMEM_LEFT, NAMELESS, Resource


def dax_kmem_range(kernel: Kernel, pfns: PfnRange) -> PfnRange:
    """The whole memory blocks in *pfns*: what of a device can become RAM.

    Source: dax_kmem_range().
    """
    size = kernel.pages_per_block
    return PfnRange(-(-pfns.start_pfn // size) * size, pfns.end_pfn // size * size)


def dev_dax_kmem_probe(kernel: Kernel, ranges: Sequence[PfnRange], nid: int) -> Steps:
    """Add *ranges* of a device as driver-managed RAM; what fills no memory block is lost.

    One that cannot be had, or be added, is left out if another was added before.

    Refuses with -EINVAL if no block is filled or *nid* is negative; while nothing is added yet
    with -EBUSY if a range is claimed, and as add_memory().

    # Simplified: RAM that a driver manages is RAM. No device asks for its memmap to be put on
    its own memory, as some do since v6.8.

    Source: dev_dax_kmem_probe(), add_memory_driver_managed() (6.12).
    """
    if nid < 0:
        raise KernelRefusal(errno.EINVAL)
    blocks = [dax_kmem_range(kernel, pfns) for pfns in ranges]
    blocks = [pfns for pfns in blocks if pfns.nr_pages > 0]
    if not blocks:
        raise KernelRefusal(errno.EINVAL)
    mapped = 0
    for pfns in blocks:
        try:
            yield from add_range(kernel, pfns, nid)
            mapped += 1
        except KernelRefusal:
            if not mapped:
                raise
    yield "dev_dax_kmem_probe"


def add_range(kernel: Kernel, pfns: PfnRange, nid: int) -> Steps:
    """Claim *pfns* for the driver, so that it is not busy, and add it below that.

    Refuses with -EBUSY if somebody has it or there is no memory for a region.

    Source: dev_dax_kmem_probe(); commit 31e4ca92a7dd ("device-dax: fix memory and resource
    leak if hotplug fails") (in v5.3).
    """
    claimed = kernel.faults.grant(Allocation.RESOURCE, 1)
    if not claimed or not kernel.iomem.request(Resource(KMEM, pfns, busy=False)):
        raise KernelRefusal(errno.EBUSY)
    try:
        yield from add_memory(kernel, nid, pfns, 0)
    except KernelRefusal:
        if kernel.rules.dax_kmem_releases_what_failed:
            kernel.iomem.remove_resource(pfns)
        raise


def dev_dax_kmem_remove(kernel: Kernel) -> Steps:
    """Remove the RAM again, as far as it goes: the driver is unbound all the same.

    What is not wholly offline stays, and its region with it, until reboot: nobody else
    removes it.

    # Simplified: the device goes with its driver.

    Source: dev_dax_kmem_remove() (6.1); commit 60858c00e5f0 ("device-dax: don't leak kernel
    memory to user space after unloading kmem") (in v5.7) for the region's name.
    """
    left = KMEM_LEFT if kernel.rules.dax_kmem_copies_its_name else NAMELESS
    for pfns in kernel.iomem.named(KMEM):
        try:
            yield from remove_memory(kernel, pfns)
            kernel.iomem.remove_resource(pfns)
        except KernelRefusal:
            kernel.iomem.rename(pfns, KMEM, left)
    yield "dev_dax_kmem_remove"
