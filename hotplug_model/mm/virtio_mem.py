"""Memory that the hypervisor lends: drivers/virtio/virtio_mem.c, what both modes share."""

from __future__ import annotations

import errno

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import NotifierAction, PageFlag, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.mm.page_alloc import (
    adjust_managed_page_count,
    alloc_contig_range,
    free_contig_range,
    generic_online_page,
)
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.faults import Allocation
from hotplug_model.state.virtio_mem import BbmState, SbmState, VirtioMem

FAKE_OFFLINE = BbmState.VIRTIO_MEM_BBM_BB_FAKE_OFFLINE
MAY_GO_ONLINE = (
    SbmState.VIRTIO_MEM_SBM_MB_OFFLINE, SbmState.VIRTIO_MEM_SBM_MB_OFFLINE_PARTIAL
)  # fmt: skip


def device_of(kernel: Kernel) -> VirtioMem:
    """The device whose driver is loaded."""
    assert isinstance(kernel.lender, VirtioMem)
    return kernel.lender


def send_request(kernel: Kernel, block: int, backed: int) -> None:
    """Ask the hypervisor for those parts of a block and no others; it always agrees.
    Refuses with -ENOMEM if there is no room in the virtqueue.

    Source: virtio_mem_send_request().
    """
    kernel.faults.allocate(Allocation.VIRTQUEUE)
    device_of(kernel).backed[block] = backed


def plug(kernel: Kernel, block: int, part: int, count: int) -> None:
    """Plug parts of a block. Refuses with -ENOMEM.

    Source: virtio_mem_sbm_plug_sb(), virtio_mem_bbm_plug_bb().
    """
    vm, bits = device_of(kernel), ((1 << count) - 1) << part
    send_request(kernel, block, vm.backed.get(block, 0) | bits)
    vm.plugged[block] = vm.plugged.get(block, 0) | bits


def unplug(kernel: Kernel, block: int, part: int, count: int) -> None:
    """Unplug parts of a block. Refuses with -ENOMEM.

    Source: virtio_mem_sbm_unplug_sb(), virtio_mem_bbm_unplug_bb().
    """
    vm, bits = device_of(kernel), ((1 << count) - 1) << part
    send_request(kernel, block, vm.backed[block] & ~bits)
    vm.plugged[block] &= ~bits


# Fake offline


def set_fake_offline(kernel: Kernel, pfns: PfnRange, onlined: bool) -> None:
    """Mark pages PageOffline, with PG_dirty if they were never online.

    Source: virtio_mem_set_fake_offline().
    """
    bits = PageFlag.PG_offline if onlined else PageFlag.PG_offline | PageFlag.PG_dirty
    kernel.pfns.set_bits(pfns, "page_flags", bits)
    if not onlined:
        kernel.pfns.clear_bits(pfns, "page_flags", PageFlag.PG_reserved)


def fake_offline(kernel: Kernel, pfns: PfnRange) -> Steps:
    """Take online pages from the allocator and mark them PageOffline. Refuses with
    -EBUSY if one of them is in use.

    Source: virtio_mem_fake_offline().
    """
    alloc_contig_range(kernel, pfns)
    yield "alloc_contig_range"
    set_fake_offline(kernel, pfns, onlined=True)
    adjust_managed_page_count(kernel, pfns.start_pfn, -pfns.nr_pages)
    kernel.pfns.clear_bits(pfns, "page_flags", PageFlag.MANAGED)
    yield "virtio_mem_fake_offline"


def fake_online(kernel: Kernel, pfns: PfnRange) -> Steps:
    """Give PageOffline pages of one part to the allocator: for the first time if they are
    PG_dirty, else back.

    Source: virtio_mem_fake_online().
    """
    dirty = kernel.pfns.at(pfns.start_pfn, "page_flags") & PageFlag.PG_dirty
    kernel.pfns.clear_bits(pfns, "page_flags", PageFlag.PG_offline | PageFlag.PG_dirty)
    if dirty:
        generic_online_page(kernel, pfns)
    else:
        free_contig_range(kernel, pfns)
        adjust_managed_page_count(kernel, pfns.start_pfn, pfns.nr_pages)
    yield "virtio_mem_fake_online"


def fake_offline_going_offline(kernel: Kernel, pfns: PfnRange) -> None:
    """Let go of PageOffline pages, so that offlining skips them.

    Source: virtio_mem_fake_offline_going_offline(); the count, before 6.11, is what
    offlining takes off again.
    """
    if not kernel.rules.offline_skips_page_offline:
        adjust_managed_page_count(kernel, pfns.start_pfn, pfns.nr_pages)
    kernel.pfns.add(pfns, "refcount", -1)


def fake_offline_cancel_offline(kernel: Kernel, pfns: PfnRange) -> None:
    """Undo fake_offline_going_offline().

    Source: virtio_mem_fake_offline_cancel_offline().
    """
    if not kernel.rules.offline_skips_page_offline:
        adjust_managed_page_count(kernel, pfns.start_pfn, -pfns.nr_pages)
    kernel.pfns.add(pfns, "refcount", 1)


# What the core calls


def online_page_cb(kernel: Kernel, pfns: PfnRange) -> None:
    """Of a block that goes online, plugged parts go to the allocator and others stay
    PageOffline. Memory of others, a DIMM's, goes online.

    Source: virtio_mem_online_page_cb(), virtio_mem_online_page().
    """
    vm = device_of(kernel)
    if not vm.region.contains(pfns):
        generic_online_page(kernel, pfns)
        return
    block = pfns.start_pfn // vm.block_pages
    kept = fake_offline_parts(vm, block, pfns)
    start = pfns.start_pfn
    for part in [*kept, PfnRange(pfns.end_pfn, pfns.end_pfn)]:
        online = PfnRange(start, part.start_pfn)
        if online.nr_pages > 0:
            generic_online_page(kernel, online)
        set_fake_offline(kernel, part, onlined=False)
        start = part.end_pfn


def fake_offline_parts(vm: VirtioMem, block: int, pfns: PfnRange) -> list[PfnRange]:
    """What of *pfns*, which lie in one block, is fake-offline while the block is online."""
    if vm.in_sbm:
        return vm.unplugged_parts(block)
    return [pfns] if vm.states.get(block) == FAKE_OFFLINE else []


def memory_notifier_cb(kernel: Kernel, action: NotifierAction, pfns: PfnRange) -> None:
    """Keep the states of blocks. Refuses with -EPERM to online a block that is unplugged, with
    -EBUSY to online or offline any while the driver goes.

    Source: virtio_mem_memory_notifier_cb().
    """
    vm = device_of(kernel)
    if not vm.region.overlaps(pfns):
        return
    block = pfns.start_pfn // vm.block_pages
    going = (NotifierAction.MEM_GOING_ONLINE, NotifierAction.MEM_GOING_OFFLINE)
    if vm.removing and action in going:
        raise KernelRefusal(errno.EBUSY)
    if action == NotifierAction.MEM_GOING_ONLINE:
        vm.hotplug_active = True
        if vm.in_sbm and vm.states.get(block) not in MAY_GO_ONLINE:
            raise KernelRefusal(errno.EPERM)
        return
    if action == NotifierAction.MEM_GOING_OFFLINE:
        vm.hotplug_active = True
        for part in fake_offline_parts(vm, block, pfns):
            fake_offline_going_offline(kernel, part)
        return
    if action == NotifierAction.MEM_CANCEL_OFFLINE and vm.hotplug_active:
        for part in fake_offline_parts(vm, block, pfns):
            fake_offline_cancel_offline(kernel, part)
    elif vm.in_sbm and action in (NotifierAction.MEM_ONLINE, NotifierAction.MEM_OFFLINE):
        online = action == NotifierAction.MEM_ONLINE
        vm.states[block] = state_of_block(kernel, vm, block, online)
    vm.hotplug_active = False


def state_of_block(kernel: Kernel, vm: VirtioMem, block: int, online: bool) -> SbmState:
    """The state of an added block of which some parts may be unplugged.

    Source: virtio_mem_sbm_notify_online(), virtio_mem_sbm_notify_offline().
    """
    state = SbmState.VIRTIO_MEM_SBM_MB_OFFLINE
    if online:
        zone = kernel.pfns.at(vm.block_pfns(block).start_pfn, "zone")
        movable = zone == ZoneType.ZONE_MOVABLE
        state = SbmState.VIRTIO_MEM_SBM_MB_MOVABLE if movable else SbmState.VIRTIO_MEM_SBM_MB_KERNEL
    return state if vm.plugged[block] == vm.whole else SbmState(state + 1)
