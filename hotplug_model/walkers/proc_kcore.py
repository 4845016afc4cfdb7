"""fs/proc/kcore.c: /proc/kcore, memory as an ELF core file."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents, Sees
from hotplug_model.state.resource import SYSTEM_RAM
from hotplug_model.walkers.walker import (
    asks_pfn_valid,
    every_pfn,
    page_hwpoison,
    page_offline,
    walker,
)

KERN_ADDR_VALID = "kern_addr_valid"
"""What it asked of each page, until commit 0daa322b8ff9 (in v5.14)."""


def readable(x: Extents) -> ExtentMask:
    """Pages that hold something and are not broken; poison has PG_hwpoison set, too."""
    holds_nothing = page_offline(x) | page_hwpoison(x)
    return listed(x) & every_pfn(x, "read_kcore_iter") & ~holds_nothing


def copied(x: Extents) -> ExtentMask:
    """Pages whose memory is copied: before commit 0daa322b8ff9 (in v5.14) all in the list."""
    return listed(x) & x.pfn_valid if looks_at_no_page(x) else readable(x)


def looks_at_no_page(x: Extents) -> bool:
    """Whether it asks no more than that there is memory, as kern_addr_valid() says."""
    return asks_pfn_valid(x, KERN_ADDR_VALID)


def listed(x: Extents) -> ExtentMask:
    """What is System RAM by the resource tree.

    # Simplified: the list of RAM follows the resource tree at once; in the kernel it is
    as old as the last memory notification.
    """

    return x.remember("kcore_ram_list", lambda: x.touched(x.kernel.iomem.merged(SYSTEM_RAM)))


@walker(
    "fs/proc/kcore.c",
    believes="RAM that can be copied",
    takes=readable,
    copies=copied,
    complete=True,
    sees=Sees.ROW,
)
def read_kcore_iter(x: Extents) -> ExtentMask:
    """Copies the memory of every online page that is System RAM by the resource tree.

    Before commit 0daa322b8ff9 (in v5.14) it looked at no struct page.

    Source: read_kcore_iter(), kcore_ram_list().
    """
    rows: ExtentMask = listed(x) & every_pfn(x, "read_kcore_iter") & (not looks_at_no_page(x))
    return rows
