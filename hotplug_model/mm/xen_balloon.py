"""Pages that go back to the hypervisor one by one: drivers/xen/balloon.c."""

from __future__ import annotations

import errno

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import PageFlag
from hotplug_model.kernel import Kernel
from hotplug_model.mm.page_alloc import (
    adjust_managed_page_count,
    alloc_contig_range,
    free_contig_range,
)
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps


def ballooned_pages(kernel: Kernel) -> list[PfnRange]:
    """``ballooned_pages``: what decrease_reservation() took, and not what virtio-mem keeps."""
    x = kernel.extents()
    held = x.is_online_ram & (x.refcount > 0) & ~x.is_managed
    found = x.where(held & ((x.page_flags & PageFlag.PG_offline) != 0))
    lender = kernel.lender
    return [pfns for pfns in found if lender is None or not lender.region.overlaps(pfns)]


def decrease_reservation(kernel: Kernel, pfns: PfnRange) -> Steps:
    """Inflate the balloon: *pfns* are allocated, no longer managed and PageOffline.

    Refuses with -EBUSY unless all of them are free.

    Source: decrease_reservation(), balloon_append().
    """
    alloc_contig_range(kernel, pfns)
    adjust_zones(kernel, pfns, -1)
    kernel.pfns.clear_bits(pfns, "page_flags", PageFlag.MANAGED)
    kernel.pfns.set_bits(pfns, "page_flags", PageFlag.PG_offline)
    yield "decrease_reservation"


def increase_reservation(kernel: Kernel, pfns: PfnRange) -> Steps:
    """Deflate it: *pfns* are not PageOffline any more, and go back to the allocator.

    Refuses with -EINVAL unless all of them are in the balloon.

    Source: increase_reservation(), balloon_retrieve(); free_reserved_page().
    """
    if not any(ballooned.contains(pfns) for ballooned in ballooned_pages(kernel)):
        raise KernelRefusal(errno.EINVAL)
    free_contig_range(kernel, pfns)
    adjust_zones(kernel, pfns, 1)
    yield "increase_reservation"


def adjust_zones(kernel: Kernel, pfns: PfnRange, count: int) -> None:
    """Each page is counted in its own zone; neighbours may be of two."""
    for pfn in range(pfns.start_pfn, pfns.end_pfn):
        adjust_managed_page_count(kernel, pfn, count)
