"""What is ballooned, or not plugged at all, is nobody's to use."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import BlockState, PageFlag, ZoneType
from hotplug_model.invariants.answer import within
from hotplug_model.invariants.answers_blocks import removal_is_odd
from hotplug_model.invariants.invariant import always, broken, law
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange, merge_ranges
from hotplug_model.state.hv_balloon import HvBalloon, without
from hotplug_model.state.ledger import Law
from hotplug_model.state.virtio_mem import BbmState, SbmState, VirtioMem
from hotplug_model.walkers import WALKERS
from hotplug_model.walkers.vmcore import read_from_oldmem


@lru_cache(maxsize=1)
def unplugged(x: Extents) -> NDArray[np.int64] | None:
    """1 for rows that touch what the hypervisor does not lend; computed once a view.

    None if all is plugged, or nothing is lent.
    """
    parts = unplugged_parts(x)
    return x.touched(parts).astype(np.int64) if parts else None


def unplugged_parts(x: Extents) -> list[PfnRange]:
    """Parts of the blocks that the hypervisor lends, but for what it does lend."""
    return [] if x.kernel.lender is None else x.kernel.lender.unplugged()


@always()
def offline_pages_are_not_in_the_buddy_allocator(x: Extents) -> ExtentMask:
    """A page is PageOffline, and yet the buddy allocator has it.

    Source: virtio_mem_fake_offline(), generic_online_page(); __offline_isolated_pages(),
    which stops with a BUG_ON() at such a page.
    """
    rows: ExtentMask = x.initialised & x.is_managed & x.page_has(PageFlag.PG_offline)
    return rows


@law(reads="blocks lender", quiescent=True)
def virtio_mem_knows_its_blocks(x: Extents) -> list[PfnRange]:
    """virtio-mem believes of a block what is not so: what is plugged, or where it went.

    The driver expects that what is offline can be removed; where it cannot, as on tile, no
    kernel has it.

    Source: virtio_mem_sbm_notify_online(), virtio_mem_sbm_notify_offline(),
    virtio_mem_cleanup_pending_mb(); the states in drivers/virtio/virtio_mem.c.
    """
    vm = x.kernel.lender
    if not isinstance(vm, VirtioMem) or any(removal_is_odd(x.kernel, vm.region)):
        return []
    return [
        vm.block_pfns(block)
        for block, state in sorted(vm.states.items())
        if vm.plugged.get(block, 0) != vm.backed.get(block, 0)
        or state != (state_in_sbm if vm.in_sbm else state_in_bbm)(x.kernel, vm, block)
    ]


def state_in_sbm(kernel: Kernel, vm: VirtioMem, block: int) -> SbmState:
    """The state of a memory block, told from its device and from what is plugged."""
    device, bits = kernel.blocks.get(block), vm.backed.get(block, 0)
    if device is None:
        return SbmState.VIRTIO_MEM_SBM_MB_PLUGGED if bits else SbmState.VIRTIO_MEM_SBM_MB_UNUSED
    state = SbmState.VIRTIO_MEM_SBM_MB_OFFLINE
    if device.state == BlockState.MEM_ONLINE:
        movable = device.zone == ZoneType.ZONE_MOVABLE
        state = SbmState.VIRTIO_MEM_SBM_MB_MOVABLE if movable else SbmState.VIRTIO_MEM_SBM_MB_KERNEL
    return SbmState(state + (bits != vm.whole))


def state_in_bbm(kernel: Kernel, vm: VirtioMem, block: int) -> BbmState:
    """The state of a big block, in the same way."""
    if kernel.blocks_in(vm.block_pfns(block)):
        return BbmState.VIRTIO_MEM_BBM_BB_ADDED
    plugged = vm.backed.get(block, 0)
    return BbmState.VIRTIO_MEM_BBM_BB_PLUGGED if plugged else BbmState.VIRTIO_MEM_BBM_BB_UNUSED


@law(Law.WORKER_WAITS_FOR_A_SIGNAL, reads="ledger")
def workers_wait_for_no_signal(x: Extents) -> list[PfnRange]:
    """A worker offlines memory of which somebody holds a page: it never gives up.

    Source: virtio_mem_run_wq(), drivers/virtio/virtio_mem.c; signal_pending() in
    offline_pages(); commit f504e15b94eb ("virtio-mem: remove unsafe unplug in Big Block Mode
    (BBM)") (in v6.5).
    """
    return broken(x, Law.WORKER_WAITS_FOR_A_SIGNAL)


@law(Law.BACKED_UNNOTICED, reads="pfns lender ledger", quiescent=True)
def backed_memory_is_used(x: Extents) -> list[PfnRange]:
    """A page went online that the host of Hyper-V is behind, and the driver keeps it.

    Where regions overlap the oldest says what is backed.

    Source: hv_online_page(), hv_bring_pgs_online(), drivers/hv/hv_balloon.c.
    """
    device, missed = x.kernel.lender, broken(x, Law.BACKED_UNNOTICED)
    if not isinstance(device, HvBalloon) or not device.regions:
        return missed
    kept = x.is_online_ram & x.page_has(PageFlag.WITHHELD)
    wrong: list[PfnRange] = []
    for number, region in enumerate(device.regions):
        older = merge_ranges(sorted(each.pfns for each in device.regions[:number]))
        for part in without(region.pfns, older):
            wrong += [page for backed in region.backed(part) for page in within(x, backed, kept)]
    return sorted({*merge_ranges(sorted(wrong)), *missed})


@law(reads="pfns lender", by=unplugged)
def unplugged_memory_is_not_in_use(x: Extents) -> list[PfnRange]:
    """The buddy allocator has memory that the hypervisor does not lend.

    Source: virtio_mem_online_page_cb(), virtio_mem_sbm_unplug_sb_online(),
    virtio_mem_bbm_offline_remove_and_unplug_bb().
    """
    return unplugged_among(x, x.initialised & x.is_managed)


@law(reads="pfns nodes iomem blocks pgmaps locks lender", by=unplugged)
def unplugged_memory_is_not_read(x: Extents) -> list[PfnRange]:
    """The memory of a pfn is read that the hypervisor does not lend.

    Source: commit 0daa322b8ff9 ("fs/proc/kcore: don't read offline sections, logically
    offline pages and hwpoisoned pages") (in v5.14).
    """
    copied = [walker.copies(x) for walker in WALKERS if walker.copies is not None]
    return unplugged_among(x, np.logical_or.reduce(copied))


@law(reads="pfns iomem lender")
def unplugged_memory_is_not_dumped(x: Extents) -> list[PfnRange]:
    """A crash dump copies the memory of a pfn that the hypervisor does not lend.

    On Xen that is what is in the balloon. Of Hyper-V nobody can be asked: who dumps has to
    look for PageOffline himself.

    Source: read_from_oldmem(), fs/proc/vmcore.c; commit ce2814622e84 ("virtio-mem: kdump
    mode to sanitize /proc/vmcore access") (in v5.16); xen_vmcore_pfn_is_ram().
    """
    if x.kernel.layout.hypervisor == "xen":
        return list(x.where(x.in_balloon & read_from_oldmem(x)))
    vm = isinstance(x.kernel.lender, VirtioMem)
    return unplugged_among(x, read_from_oldmem(x)) if vm else []


def unplugged_among(x: Extents, rows: ExtentMask) -> list[PfnRange]:
    """What is unplugged, though some of *rows* lies in it."""
    found = x.where(rows)
    wrong = (part for part in unplugged_parts(x) if any(pfns.overlaps(part) for pfns in found))
    return list(merge_ranges(wrong))
