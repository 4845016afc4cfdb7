"""Pages whose memory is broken: mm/memory-failure.c."""

from __future__ import annotations

import errno

from hotplug_model.errors import EHWPOISON, KernelRefusal
from hotplug_model.flags import MemoryClass, MemoryType, PageContent, PageFlag
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.dev_pagemap import DevPagemap

UNSUPPORTED = (
    MemoryType.MEMORY_DEVICE_PRIVATE, MemoryType.MEMORY_DEVICE_COHERENT,
    MemoryType.MEMORY_DEVICE_PUBLIC,
)  # fmt: skip
"""Device memory whose driver would have to be asked."""


def memory_failure(kernel: Kernel, pfn: int, mapped: bool = False) -> Steps:
    """Mark the page of *pfn*, whose memory broke, and keep it from being used.

    Of System RAM that shares its section with a device pfn_to_online_page() knows; all
    else is looked for in a map, *mapped* as said there.

    Refuses with -EHWPOISON if a page of RAM is marked already, with -ENXIO where no page is
    known: memory that is not online, and device memory that no driver has set up; and as
    memory_failure_dev_pagemap().

    # Simplified: it takes no time between the look-up and the mark; the walker of that name
    does, and it alone takes a pfn without data for a page, as before v5.12.

    Source: memory_failure().
    """
    if not kernel.geometry.all_pfns.contains(PfnRange(pfn, pfn + 1)):
        raise KernelRefusal(errno.ENXIO)
    x = kernel.extents()
    row = x.row_at(pfn)
    pgmap = kernel.pgmaps.get(int(x.dev_pagemap[row]))
    if x.online_page[row]:
        mark_ram(kernel, pfn)
    elif pgmap is None:
        raise KernelRefusal(errno.ENXIO)
    else:
        memory_failure_dev_pagemap(kernel, pgmap, pfn, mapped)
    yield "memory_failure"


def memory_failure_dev_pagemap(
    kernel: Kernel, pgmap: DevPagemap, pfn: int, mapped: bool
) -> None:
    """Mark the page of a device; of a compound page the first.

    Refuses with -EBUSY unless some file of a DAX device has the page, *mapped*: whom to
    tell is locked by that file; and with -ENXIO for what is no data of the map, first of all, and
    for memory whose driver would have to be asked.

    # Simplified: the filesystem on fs-dax memory supports no such thing.

    Source: memory_failure_dev_pagemap(), mf_generic_kill_procs(); dax_lock_page() in
    fs/dax.c (6.1).
    """
    range_id = pgmap.range_with(pfn)
    if range_id is None:
        raise KernelRefusal(errno.ENXIO)
    if not mapped:
        raise KernelRefusal(errno.EBUSY)
    if pgmap.type in UNSUPPORTED:
        raise KernelRefusal(errno.ENXIO)
    head = pfn - (pfn - pgmap.pfn_first(range_id)) % pgmap.vmemmap_nr
    kernel.pfns.set_bits(PfnRange(head, head + 1), "page_flags", PageFlag.PG_hwpoison)


def mark_ram(kernel: Kernel, pfn: int) -> None:
    """Mark an online page and count it in its memory block. What the allocator was given
    is held from now on, whether it was free or in use.

    Refuses with -EHWPOISON if it is marked, and with -EBUSY for a part of a huge page, which
    the kernel would dissolve.

    # Simplified: of a page that is reserved, PageOffline or otherwise nobody's to take the
    kernel returns -EBUSY, though it has marked and counted it. num_poisoned_pages is that of
    RAM: what breaks of a device the kernel counts, too, and never takes off since v6.2.

    Source: memory_failure(), take_page_off_buddy(), get_hwpoison_page(); action_result().
    """
    page, flags = PfnRange(pfn, pfn + 1), kernel.pfns.at(pfn, "page_flags")
    if flags & PageFlag.PG_hwpoison:
        raise KernelRefusal(EHWPOISON)
    if flags & PageFlag.HUGETLB:
        raise KernelRefusal(errno.EBUSY)
    kernel.pfns.set_bits(page, "page_flags", PageFlag.PG_hwpoison)
    if flags == PageFlag.MANAGED:
        kernel.pfns.add(page, "refcount", 1)
    kernel.num_poisoned_pages += 1
    (block_id,) = kernel.block_ids(page)
    if block_id in kernel.blocks:
        memblk_nr_poison_inc(kernel, block_id, pfn)


def memblk_nr_poison_inc(kernel: Kernel, block_id: int, pfn: int) -> None:
    """Count a broken page on its memory block, which is looked up, and so referenced, for that.

    # Simplified: before v6.2 no block counted, and nobody looked one up. Here it remembers
    which of its pages broke all the same.

    Source: memblk_nr_poison_inc(), find_memory_block_by_id() in drivers/base/memory.c; commit
    5033091de814 ("mm/hwpoison: introduce per-memory_block hwpoison counter") (in v6.2);
    commit 03a2cc1756a0 ("drivers/base/memory: fix memory block reference leak in poison
    accounting") (in v7.1).
    """
    block, start = kernel.blocks[block_id], kernel.block_pfns(block_id).start_pfn
    block.broken = tuple(sorted((*block.broken, pfn - start)))
    looked_up = kernel.rules.online_rejects_broken_pages
    if looked_up and not kernel.rules.memblk_nr_poison_puts_device:
        block.references += 1


def clear_hwpoisoned_pages(kernel: Kernel, pfns: PfnRange) -> None:
    """Count no more what the struct pages of *pfns*, a part of a section, say is broken, unless
    nothing is.

    What page_init_poison() has overwritten has every flag, so this one.

    Source: clear_hwpoisoned_pages(), sparse_remove_section() (6.1).
    """
    ram = kernel.pfns.at(pfns.start_pfn, "memory") == MemoryClass.SYSTEM_RAM
    if ram and kernel.num_poisoned_pages:
        marked = kernel.pfns.within(pfns, "page_flags") & PageFlag.PG_hwpoison != 0
        overwritten = kernel.pfns.within(pfns, "content") == PageContent.POISONED
        kernel.num_poisoned_pages -= int(kernel.pfns.lengths(pfns)[marked | overwritten].sum())
