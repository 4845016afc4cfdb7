"""mm/memory-failure.c: pages whose memory is broken."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.walkers.walker import every_pfn, page_reserved, walker


@walker("mm/memory-failure.c", believes="a page of System RAM, no device page")
def memory_failure(x: Extents) -> ExtentMask:
    """Marks a broken page, wherever the hardware found it.

    A pfn that is not online is tried as device memory next, and refused else.

    Source: memory_failure(); commit 96c804a6ae8c (in v5.4).
    """
    return every_pfn(x)


def unpoisonable(x: Extents) -> ExtentMask:
    """Pages that are not reserved and that at most one user holds."""
    return every_pfn(x) & ~page_reserved(x) & (x.refcount <= 1)


@walker("mm/memory-failure.c", believes="a page of System RAM", takes=unpoisonable)
def unpoison_memory(x: Extents) -> ExtentMask:
    """Takes a broken page, which the caller names, back into use.

    # Simplified: whether a page is broken at all is not modelled.

    Source: unpoison_memory().
    """
    return every_pfn(x)


@walker("mm/memory-failure.c", believes="a page of System RAM, no device page")
def soft_offline_page(x: Extents) -> ExtentMask:
    """Replaces a page, which the caller names, before it breaks.

    Source: soft_offline_page().
    """
    return x.remember("soft_offline_page", lambda: x.pfn_valid & every_pfn(x))
