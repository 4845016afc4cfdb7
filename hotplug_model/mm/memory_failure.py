"""Pages whose memory is broken: mm/memory-failure.c."""

from __future__ import annotations

import errno

from hotplug_model.errors import EHWPOISON, KernelRefusal
from hotplug_model.flags import MemoryType, PageFlag
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps

UNSUPPORTED = (MemoryType.MEMORY_DEVICE_PRIVATE, MemoryType.MEMORY_DEVICE_COHERENT)
"""Device memory whose driver would have to be asked."""


def memory_failure(kernel: Kernel, pfn: int) -> Steps:
    """Mark the page of *pfn*, whose memory broke, and keep it from being used.

    Refuses with -EHWPOISON if the page is marked already, with -ENXIO where no page is
    known: memory that is not online, and device memory that no driver has set up.

    # Simplified: it takes no time between the look-up and the mark; the walker of that name
    does. The filesystem on fs-dax memory supports no such thing.

    Source: memory_failure(), memory_failure_dev_pagemap(), mf_generic_kill_procs().
    """
    x = kernel.extents()
    row = int(x.start_pfn.searchsorted(pfn, "right")) - 1
    pgmap = kernel.pgmaps.get(int(x.dev_pagemap[row]))
    if x.online_page[row]:
        mark_ram(kernel, pfn)
    elif pgmap is None or pgmap.type in UNSUPPORTED or x.page_pgmap[row] < 0:
        raise KernelRefusal(errno.ENXIO)
    else:
        kernel.pfns.set_bits(PfnRange(pfn, pfn + 1), "page_flags", PageFlag.PG_hwpoison)
    yield "memory_failure"


def mark_ram(kernel: Kernel, pfn: int) -> None:
    """Mark an online page and count it in its memory block. What the allocator was given
    is held from now on, whether it was free or in use.

    # Simplified: of a page that is reserved, PageOffline or otherwise nobody's to take the
    kernel returns -EBUSY, though it has marked and counted it.

    Source: memory_failure(), take_page_off_buddy(), get_hwpoison_page(); action_result(),
    memblk_nr_poison_inc() in drivers/base/memory.c.
    """
    page, flags = PfnRange(pfn, pfn + 1), kernel.pfns.at(pfn, "page_flags")
    if flags & PageFlag.PG_hwpoison:
        raise KernelRefusal(EHWPOISON)
    kernel.pfns.set_bits(page, "page_flags", PageFlag.PG_hwpoison)
    if flags == PageFlag.MANAGED:
        kernel.pfns.add(page, "refcount", 1)
    (block_id,) = kernel.block_ids(page)
    if block_id in kernel.blocks:
        block, start = kernel.blocks[block_id], kernel.block_pfns(block_id).start_pfn
        block.broken = tuple(sorted((*block.broken, pfn - start)))
