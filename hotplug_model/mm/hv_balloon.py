"""Which pages of Hyper-V's memory go online: drivers/hv/hv_balloon.c.

What the balloon takes and gives back, alloc_balloon_pages() and free_balloon_pages(), is the
same to a page as in :mod:`hotplug_model.mm.xen_balloon`.
"""

from __future__ import annotations

from hotplug_model.flags import PageFlag
from hotplug_model.kernel import Kernel
from hotplug_model.mm.page_alloc import generic_online_page
from hotplug_model.pfn import PfnRange
from hotplug_model.state.hv_balloon import HotAddRegion, HvBalloon


def device_of(kernel: Kernel) -> HvBalloon:
    """The driver, which every machine on Hyper-V has."""
    assert isinstance(kernel.lender, HvBalloon)
    return kernel.lender


def hv_online_page(kernel: Kernel, pfns: PfnRange) -> None:
    """Of memory that goes online, what the host has backed goes to the allocator. What
    another than the host has added goes nowhere. Where regions overlap the oldest decides.

    *pfns* lie in one memory block, of which regions consist.

    Source: hv_online_page(), the driver's online_page_callback.
    """
    kernel.pfns.set_bits(pfns, "page_flags", PageFlag.WITHHELD)
    for region in device_of(kernel).regions:
        if region.pfns.contains(pfns):
            hv_bring_pgs_online(kernel, region, pfns)
            return
    if "hv_online_page" in kernel.rules.reserves_withheld_pages:
        kernel.pfns.set_bits(pfns, "page_flags", PageFlag.PG_reserved)


def hv_bring_pgs_online(kernel: Kernel, region: HotAddRegion, pfns: PfnRange) -> None:
    """Online what is backed of *pfns*, page by page; what is not stays PageOffline.

    Since commit 503b158fc30f (in v6.11), which lets hotplug mark pages PageOffline, what is
    not any more was online before and is left alone; earlier kernels gave it to the
    allocator once more. Where hotplug marks nothing the truth stands for the mark.

    Source: hv_page_online_one(); "[PATCH RFC v1 12/12] mm/memory_hotplug: Don't mark pages
    PG_reserved when initializing the memmap", linux-kernel, October 2019.
    """
    reserves = "hv_page_online_one" in kernel.rules.reserves_withheld_pages
    more = PageFlag.PG_reserved if reserves else PageFlag(0)
    for part in region.unbacked(pfns):
        kernel.pfns.set_bits(part, "page_flags", PageFlag.PG_offline | more)
    kept = PageFlag.PG_offline | PageFlag.WITHHELD
    for part in region.backed(pfns):
        start = part.start_pfn
        lengths, flags = kernel.pfns.lengths(part), kernel.pfns.within(part, "page_flags")
        for nr_pages, marks in zip(lengths.tolist(), flags.tolist(), strict=True):
            if marks & kept or not kernel.rules.hv_onlines_once:
                generic_online_page(kernel, PfnRange(start, start + nr_pages))
            start += nr_pages
