"""fs/proc/kcore.c: /proc/kcore, memory as an ELF core file."""

from __future__ import annotations

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import PageContent
from hotplug_model.state.resource import SYSTEM_RAM
from hotplug_model.walkers.walker import every_pfn, page_offline, walker


def readable(x: Extents) -> ExtentMask:
    """Pages whose memory is copied; a poisoned struct page has PG_hwpoison set."""
    hwpoison: ExtentMask = x.content == PageContent.POISONED
    return read_kcore_iter(x) & ~page_offline(x) & ~hwpoison


@walker(
    "fs/proc/kcore.c",
    believes="RAM that can be copied",
    takes=readable,
    copies=readable,
    complete=True,
)
def read_kcore_iter(x: Extents) -> ExtentMask:
    """Copies the memory of every online page that is System RAM by the resource tree.

    # Simplified: the list of RAM follows the resource tree at once; in the kernel it is
    as old as the last memory notification.

    Source: read_kcore_iter(), kcore_ram_list().
    """

    def compute() -> ExtentMask:
        listed = np.zeros(len(x.start_pfn), bool)
        for ram in x.kernel.iomem.merged(SYSTEM_RAM):
            listed |= (x.start_pfn < ram.end_pfn) & (x.end_pfn > ram.start_pfn)
        return listed & every_pfn(x, "read_kcore_iter")

    return x.remember("read_kcore_iter", compute)
