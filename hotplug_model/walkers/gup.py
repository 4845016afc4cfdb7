"""mm/gup.c: pages that a process maps are held for a device."""

from __future__ import annotations

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import MemoryType
from hotplug_model.walkers.walker import Holds, walker

MAPPED_BY_PROCESSES = (MemoryType.MEMORY_DEVICE_FS_DAX, MemoryType.MEMORY_DEVICE_GENERIC)
"""Device memory that mmap() of a file gives to a process."""


@walker(
    "mm/gup.c",
    believes="a page of a map that stays as long as the page is held",
    holds=Holds.DEVICE_PAGE,
    asks="pfn_valid",
)
def pin_user_pages_fast(x: Extents) -> ExtentMask:
    """Takes a reference on a DAX page that a process maps, and keeps it for long.

    It finds the page in page tables, and keeps the map alive by get_dev_pagemap() until it
    has the reference.

    Source: gup_pte_range(), __gup_device_huge() (6.1).
    """
    pgmaps = x.kernel.pgmaps.items()
    dax = [pgmap_id for pgmap_id, pgmap in pgmaps if pgmap.type in MAPPED_BY_PROCESSES]
    rows: ExtentMask = np.isin(x.dev_pagemap, dax) & (x.page_pgmap >= 0) & x.is_zone_device
    return rows
