"""What is broken stays out of use."""

from __future__ import annotations

import errno

from hotplug_model.errors import KernelRefusal
from hotplug_model.extents import Extents
from hotplug_model.flags import PageContent, PageFlag
from hotplug_model.invariants.invariant import across, broken, law
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange
from hotplug_model.state.ledger import Law


@law(reads="pfns blocks")
def broken_pages_do_not_come_back(x: Extents) -> list[PfnRange]:
    """The buddy allocator has a page whose memory is broken, and nothing says so.

    A struct page that is initialised anew has forgotten; the block has not.

    Source: memory_block_online(); commit 5033091de814 ("mm/hwpoison: introduce
    per-memory_block hwpoison counter") (in v6.2).
    """
    pfns = x.kernel.pfns
    found = []
    marked = [(b, block) for b, block in sorted(x.kernel.blocks.items()) if block.broken]
    for block_id, block in marked:
        for pfn in (x.kernel.block_pfns(block_id).start_pfn + each for each in block.broken):
            flags = pfns.at(pfn, "page_flags") & (PageFlag.MANAGED | PageFlag.PG_hwpoison)
            in_use = pfns.at(pfn, "content") == PageContent.INITIALISED
            if in_use and flags == PageFlag.MANAGED:
                found.append(PfnRange(pfn, pfn + 1))
    return found


@law(reads="blocks", quiescent=True)
def num_poisoned_pages_add_up(x: Extents) -> list[PfnRange]:
    """num_poisoned_pages is not the number of pages that broke in memory blocks.

    Source: num_poisoned_pages_inc(), num_poisoned_pages_sub(), mm/memory-failure.c;
    remove_memory_block_devices(), drivers/base/memory.c.
    """
    nr_broken = sum(len(block.broken) for block in x.kernel.blocks.values())
    return [] if x.kernel.num_poisoned_pages == nr_broken else [x.geometry.all_pfns]


@law(reads="blocks", quiescent=True)
def memory_block_devices_are_let_go(x: Extents) -> list[PfnRange]:
    """A reference on a memory block's device is left that nobody will drop.

    When the block is removed its device is not freed.

    Source: find_memory_block_by_id(), memblk_nr_poison_inc(), drivers/base/memory.c; commit
    03a2cc1756a0 ("drivers/base/memory: fix memory block reference leak in poison accounting")
    (in v7.1).
    """
    blocks = sorted(x.kernel.blocks.items())
    return [x.kernel.block_pfns(block_id) for block_id, block in blocks if block.references]


@law(Law.UNMAPPED_UNLOCKED, reads="ledger")
def broken_pages_are_unmapped_locked(x: Extents) -> list[PfnRange]:
    """Offlining unmaps a broken page whose lock it does not hold.

    Source: try_to_unmap_one(), which stops with a BUG; commit af288a426c3e ("hwpoison,
    memory_hotplug: lock folio before unmap hwpoisoned folio") (in v6.14).
    """
    return broken(x, Law.UNMAPPED_UNLOCKED)


@across
def offlining_waits_for_nobody_but_holders(
    before: Kernel, refusal: KernelRefusal | None, after: Kernel
) -> list[PfnRange]:
    """Offlining never ends, though nobody holds a page but memory_failure() a broken one.

    Source: do_migrate_range(), mm/memory_hotplug.c; commit b15c87263a69 ("hwpoison,
    memory_hotplug: allow hwpoisoned pages to be offlined") (in v5.0).
    """
    if refusal is None or refusal.errno != errno.EINTR:
        return []
    x = after.extents()
    held, is_broken = x.is_managed & (x.refcount > 0), x.page_has(PageFlag.PG_hwpoison)
    return [] if (held & ~is_broken).any() else list(x.where(held & is_broken))
