"""Pages that go back to the hypervisor one by one: drivers/xen/balloon.c.

To a page hv_balloon does the same, and so does virtio_balloon, as long as its pages do not
lie in ZONE_MOVABLE.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import PageFlag, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.mm.page_alloc import (
    adjust_managed_page_count,
    alloc_contig_range,
    free_contig_range,
    free_reserved_page,
)
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.virtio_mem import VirtioMem


def ballooned_pages(kernel: Kernel) -> list[PfnRange]:
    """``ballooned_pages``: what decrease_reservation() took and, on Xen, what the allocator
    never had; not what another driver keeps.
    """
    x = kernel.extents()
    ours = kernel.layout.hypervisor == "xen" or ~x.page_has(PageFlag.WITHHELD)
    return outside(kernel, x.where(x.in_balloon & ours))


def outside(kernel: Kernel, found: Iterable[PfnRange]) -> list[PfnRange]:
    """Those ranges that are not virtio-mem's, which no balloon is given."""
    vm = kernel.lender
    return [pfns for pfns in found if not (isinstance(vm, VirtioMem) and vm.region.overlaps(pfns))]


def xen_online_page(kernel: Kernel, pfns: PfnRange) -> None:
    """What goes online is in the balloon, with nothing behind it.

    Source: xen_online_page(), balloon_append(); "[PATCH RFC v1 12/12] mm/memory_hotplug:
    Don't mark pages PG_reserved when initializing the memmap", linux-kernel, October 2019.
    """
    reserves = "xen_online_page" in kernel.rules.reserves_withheld_pages
    more = PageFlag.PG_reserved if reserves else PageFlag(0)
    kernel.pfns.set_bits(pfns, "page_flags", PageFlag.PG_offline | PageFlag.WITHHELD | more)


def decrease_reservation(kernel: Kernel, pfns: PfnRange) -> Steps:
    """Inflate the balloon: *pfns* are allocated, no longer managed and PageOffline.

    Refuses with -EBUSY unless all of them are free and none is in ZONE_MOVABLE.

    Source: decrease_reservation(), balloon_append(), GFP_BALLOON; alloc_balloon_pages() in
    drivers/hv/hv_balloon.c.
    """
    if (kernel.pfns.within(pfns, "zone") == ZoneType.ZONE_MOVABLE).any():
        raise KernelRefusal(errno.EBUSY)
    alloc_contig_range(kernel, pfns)
    adjust_zones(kernel, pfns, -1)
    kernel.pfns.clear_bits(pfns, "page_flags", PageFlag.MANAGED)
    kernel.pfns.set_bits(pfns, "page_flags", PageFlag.PG_offline)
    yield "decrease_reservation"


def increase_reservation(kernel: Kernel, pfns: PfnRange) -> Steps:
    """Deflate it: *pfns* are not PageOffline any more, and go back to the allocator.

    Refuses with -EINVAL unless all of them are in the balloon.

    Xen frees the pages whoever has a reference on them; hv_balloon drops its own.

    Source: increase_reservation(), balloon_retrieve(); free_balloon_pages() in
    drivers/hv/hv_balloon.c.
    """
    if not any(ballooned.contains(pfns) for ballooned in ballooned_pages(kernel)):
        raise KernelRefusal(errno.EINVAL)
    drops = kernel.layout.hypervisor == "hyper-v"
    (free_contig_range if drops else free_reserved_page)(kernel, pfns)
    adjust_zones(kernel, pfns, 1)
    yield "increase_reservation"


def adjust_zones(kernel: Kernel, pfns: PfnRange, count: int) -> None:
    """Each page is counted in its own zone; neighbours may be of two."""
    for pfn in range(pfns.start_pfn, pfns.end_pfn):
        adjust_managed_page_count(kernel, pfn, count)
