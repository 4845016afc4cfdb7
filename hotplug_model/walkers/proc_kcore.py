"""fs/proc/kcore.c: /proc/kcore, memory as an ELF core file."""

from __future__ import annotations

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import PageContent
from hotplug_model.state.resource import SYSTEM_RAM
from hotplug_model.walkers.walker import asks_pfn_valid, page_offline, walker


def readable(x: Extents) -> ExtentMask:
    """Pages that hold something; a poisoned struct page has PG_hwpoison set."""
    hwpoison: ExtentMask = x.content == PageContent.POISONED
    return listed(x) & x.online_page & ~page_offline(x) & ~hwpoison


def copied(x: Extents) -> ExtentMask:
    """Pages whose memory is copied: before commit 0daa322b8ff9 (in v5.14) all in the list."""
    whole = asks_pfn_valid(x, "read_kcore_iter")
    return listed(x) & x.pfn_valid if whole else readable(x)


def listed(x: Extents) -> ExtentMask:
    """What is System RAM by the resource tree.

    # Simplified: the list of RAM follows the resource tree at once; in the kernel it is
    as old as the last memory notification.
    """

    def compute() -> ExtentMask:
        rows = np.zeros(len(x.start_pfn), bool)
        for ram in x.kernel.iomem.merged(SYSTEM_RAM):
            rows |= (x.start_pfn < ram.end_pfn) & (x.end_pfn > ram.start_pfn)
        return rows

    return x.remember("kcore_ram_list", compute)


@walker(
    "fs/proc/kcore.c",
    believes="RAM that can be copied",
    takes=readable,
    copies=copied,
    complete=True,
)
def read_kcore_iter(x: Extents) -> ExtentMask:
    """Copies the memory of every online page that is System RAM by the resource tree.

    Before commit 0daa322b8ff9 (in v5.14) it looked at no struct page.

    Source: read_kcore_iter(), kcore_ram_list().
    """
    looks: ExtentMask = listed(x) & x.online_page & (not asks_pfn_valid(x, "read_kcore_iter"))
    return looks
