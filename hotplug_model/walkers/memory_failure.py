"""mm/memory-failure.c: pages whose memory is broken."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents, Sees
from hotplug_model.walkers.walker import (
    Holds,
    asks_pfn_valid,
    every_pfn,
    page_reserved,
    walker,
)


@walker(
    "mm/memory-failure.c",
    believes="a page of System RAM, no device page",
    holds=Holds.PAGE,
    sees=Sees.ROW,
)
def memory_failure(x: Extents) -> ExtentMask:
    """Marks a broken page, wherever the hardware found it.

    A pfn that is not online is tried as device memory next, and refused else. Where it
    asks pfn_valid() instead, device memory comes first.

    Source: memory_failure(); commit 96c804a6ae8c (in v5.4).
    """
    rows = every_pfn(x, "memory_failure")
    return rows & (x.dev_pagemap < 0) if asks_pfn_valid(x, "memory_failure") else rows


def unpoisonable(x: Extents) -> ExtentMask:
    """Pages that are not reserved and that at most one user holds."""
    return every_pfn(x, "unpoison_memory") & ~page_reserved(x) & (x.refcount <= 1)


@walker(
    "mm/memory-failure.c",
    believes="a page of System RAM",
    takes=unpoisonable,
    holds=Holds.ANY_PAGE,
    sees=Sees.ROW,
)
def unpoison_memory(x: Extents) -> ExtentMask:
    """Takes a broken page, which the caller names, back into use.

    # Simplified: it comes to any page, broken or not; it takes its reference on broken ones.
    On every release it is as since commit d613f53c83ec: see ``unpoison-asks-pfn-valid``.

    Source: unpoison_memory(), __get_unpoison_page(); commit d613f53c83ec (in v6.17).
    """
    return every_pfn(x, "unpoison_memory")


def no_device_page(x: Extents) -> ExtentMask:
    """Pages that are replaced; where pfn_valid() is asked, device pages are not."""
    rows = soft_offline_page(x)
    return rows & ~x.is_zone_device if asks_pfn_valid(x, "soft_offline_page") else rows


@walker(
    "mm/memory-failure.c",
    believes="a page of System RAM, no device page",
    takes=no_device_page,
    holds=Holds.PAGE,
    sees=Sees.ROW,
)
def soft_offline_page(x: Extents) -> ExtentMask:
    """Replaces a page, which the caller names, before it breaks.

    Source: soft_offline_page(); commit 641fe2e9387a (in v5.4) for soft_offline_page_store().
    """
    rows = every_pfn(x, "soft_offline_page")
    return x.remember("soft_offline_page", lambda: x.pfn_valid & rows)


@walker(
    "mm/memory-failure.c",
    believes="a page of a map that is in use",
    holds=Holds.PGMAP,
    asks="pfn_valid",
    sees=Sees.ROW,
)
def memory_failure_dev_pagemap(x: Extents) -> ExtentMask:
    """Marks a broken page of a device: what is not online, valid, and has a map.

    Source: memory_failure(), memory_failure_dev_pagemap().
    """
    online = every_pfn(x, "memory_failure")
    rows: ExtentMask = ~online & x.pfn_valid & (x.dev_pagemap >= 0)
    return rows
