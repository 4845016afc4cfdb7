"""Memory that Hyper-V adds: the work of drivers/hv/hv_balloon.c when the host asks for it."""

from __future__ import annotations

import errno

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import PageFlag, SectionFlag
from hotplug_model.kernel import Kernel
from hotplug_model.mm.hv_balloon import device_of, hv_bring_pgs_online
from hotplug_model.mm.memory_hotplug import add_memory
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import PartSteps, Steps
from hotplug_model.state.hv_balloon import HotAddRegion
from hotplug_model.state.ledger import Cause, Law


def hot_add_req(kernel: Kernel, pfns: PfnRange) -> Steps:
    """The host has backed *pfns*: add the blocks that they need, and online the rest of one
    that is online.

    Never refuses: the host is told how much was added, and asks again or does not.

    # Simplified: the host never says itself where the region is to be. A chunk is a memory
    block, as since 6.11; before that it was always 128 MiB.

    Source: hot_add_req(), process_hot_add().
    """
    if device_of(kernel).do_hot_add:
        yield from handle_pg_range(kernel, region_of(kernel, pfns), pfns)
    yield "hot_add_req"


def region_of(kernel: Kernel, pfns: PfnRange) -> HotAddRegion:
    """The region that *pfns* begin in: an old one, which may grow, or a new one.

    Source: pfn_covered(), process_hot_add().
    """
    device, chunk = device_of(kernel), kernel.pages_per_block
    for region in device.regions:
        if region.start_pfn <= pfns.start_pfn < region.end_pfn:
            if region.covered_end_pfn < pfns.start_pfn:
                region.gaps += (PfnRange(region.covered_end_pfn, pfns.start_pfn),)
            region.covered_end_pfn = pfns.start_pfn
            region.end_pfn += max(0, -(-(pfns.end_pfn - region.end_pfn) // chunk) * chunk)
            return region
    start = pfns.start_pfn // chunk * chunk
    region = HotAddRegion(
        start_pfn=start,
        end_pfn=start + -(-pfns.nr_pages // chunk) * chunk,
        ha_end_pfn=start,
        covered_start_pfn=pfns.start_pfn,
        covered_end_pfn=pfns.start_pfn,
    )
    device.regions.append(region)
    return region


def handle_pg_range(kernel: Kernel, region: HotAddRegion, pfns: PfnRange) -> Steps:
    """Online what of *pfns* was added before, then add what was not.

    Source: handle_pg_range().
    """
    missing = pfns.nr_pages
    if pfns.start_pfn < region.ha_end_pfn:
        added = PfnRange(pfns.start_pfn, min(region.ha_end_pfn, pfns.end_pfn))
        region.covered_end_pfn += added.nr_pages
        missing -= added.nr_pages
        online = kernel.pfns.at(pfns.start_pfn, "section_flags") & SectionFlag.IS_ONLINE
        if pfns.start_pfn > region.start_pfn and online:
            hv_bring_pgs_online(kernel, region, added)
            yield "hv_bring_pgs_online"
        elif not online and passed_over(kernel, added):
            kernel.ledger.breach(Law.BACKED_UNNOTICED, added, Cause.GOES_ONLINE)
    missing = min(missing, region.end_pfn - region.ha_end_pfn)
    while missing > 0 and (yield from hv_mem_hot_add(kernel, region, missing)):
        missing -= kernel.pages_per_block


def passed_over(kernel: Kernel, pfns: PfnRange) -> bool:
    """Whether *pfns* go online, and hv_online_page() has kept them: it will not look again."""
    withheld = kernel.pfns.within(pfns, "page_flags") & PageFlag.WITHHELD
    return kernel.locks.mem_hotplug and bool(withheld.any())


def hv_mem_hot_add(kernel: Kernel, region: HotAddRegion, missing: int) -> PartSteps:
    """Add a block, of which at most *missing* pages are backed. Whether that worked.

    The region counts it already: it may go online at once.

    Source: hv_mem_hot_add(), one turn of its loop.
    """
    chunk, device = kernel.pages_per_block, device_of(kernel)
    block = PfnRange(region.ha_end_pfn, region.ha_end_pfn + chunk)
    covered = min(missing, chunk)
    region.ha_end_pfn += chunk
    region.covered_end_pfn += covered
    try:
        yield from add_memory(kernel, device.nid, block, 0)
    except KernelRefusal as refusal:
        if refusal.errno == errno.EEXIST:
            device.do_hot_add = False
        region.ha_end_pfn -= chunk
        region.covered_end_pfn -= covered
        return False
    return True
