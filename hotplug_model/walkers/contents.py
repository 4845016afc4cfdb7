"""Readers of memory that follow page tables, not page frame numbers.

They come to pages that processes map, so that they hold one, and look for no other.
"""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import MemoryClass
from hotplug_model.registry import Registry
from hotplug_model.walkers.walker import Scan, page_offline

CONTENTS: Registry[Scan] = Registry("reader of memory")
"""Which rows a kernel function copies or compares, by its name; it sees no more than the row."""
ADDRESSABLE, MOVABLE = int(MemoryClass.ADDRESSABLE), int(MemoryClass.MOVABLE)


def reader(rows: Scan) -> Scan:
    """Register the decorated function under its name."""
    return CONTENTS.add(rows.__name__, rows)


@reader
def ksm_do_scan(x: Extents) -> ExtentMask:
    """Compares pages of processes, and merges those that are equal; none of a device.

    # Simplified: any page that the buddy allocator has given away may be anonymous.

    Source: scan_get_next_rmap_item(), memcmp_pages() in mm/ksm.c.
    """
    rows: ExtentMask = x.is_managed & x.online_page & ~page_offline(x)
    return rows


@reader
def wp_page_copy(x: Extents) -> ExtentMask:
    """Copies what a process writes to and shares, a file on pmem included.

    Device-private memory is mapped by no process: its driver moves it to RAM first.

    Source: wp_page_copy(), do_swap_page() in mm/memory.c; dax_iomap_cow_copy() in fs/dax.c.
    """
    addressable = (x.memory == ADDRESSABLE) | (x.memory == MOVABLE)
    device = x.is_zone_device & (x.dev_pagemap >= 0) & addressable
    rows: ExtentMask = ksm_do_scan(x) | device
    return rows
