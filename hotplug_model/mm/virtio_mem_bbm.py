"""virtio-mem's big-block mode: whole memory blocks, one or several at a time."""

from __future__ import annotations

import errno
from contextlib import suppress

import numpy as np

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.mm.memory_hotplug import add_memory, offline_and_remove_memory
from hotplug_model.mm.virtio_mem import device_of, fake_offline, fake_online, plug, unplug
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import PartSteps, Steps
from hotplug_model.state.ledger import Law
from hotplug_model.state.virtio_mem import BbmState

UNUSED, PLUGGED = BbmState.VIRTIO_MEM_BBM_BB_UNUSED, BbmState.VIRTIO_MEM_BBM_BB_PLUGGED
ADDED, FAKE_OFFLINE = BbmState.VIRTIO_MEM_BBM_BB_ADDED, BbmState.VIRTIO_MEM_BBM_BB_FAKE_OFFLINE


def unplug_pending_bb(kernel: Kernel) -> Steps:
    """Unplug what is plugged but not added.

    Source: virtio_mem_cleanup_pending_mb().
    """
    vm = device_of(kernel)
    for block in vm.in_state(PLUGGED):
        unplug(kernel, block, 0, 1)
        vm.states[block] = UNUSED
        yield "virtio_mem_bbm_unplug_bb"


def plug_request(kernel: Kernel, nr_pages: int) -> Steps:
    """Plug and add whole big blocks: unused ones, then new ones.

    Refuses with -ENOSPC if the region has no block any more, else as add_memory().

    Source: virtio_mem_bbm_plug_request().
    """
    vm = device_of(kernel)
    wanted = nr_pages // vm.block_pages
    for block in vm.in_state(UNUSED)[:wanted]:
        yield from plug_and_add_bb(kernel, block)
        wanted -= 1
    for _ in range(wanted):
        if vm.next_id > vm.last_usable_id:
            raise KernelRefusal(errno.ENOSPC)
        block = vm.next_id
        vm.states[block] = UNUSED
        yield from plug_and_add_bb(kernel, block)


def plug_and_add_bb(kernel: Kernel, block: int) -> Steps:
    """Plug a big block and add it.

    Source: virtio_mem_bbm_plug_and_add_bb().
    """
    vm = device_of(kernel)
    plug(kernel, block, 0, 1)
    vm.states[block] = ADDED
    yield "virtio_mem_bbm_plug_bb"
    try:
        yield from add_memory(kernel, vm.nid, vm.block_pfns(block), 0)
    except KernelRefusal:
        vm.states[block] = PLUGGED
        with suppress(KernelRefusal):
            unplug(kernel, block, 0, 1)
            vm.states[block] = UNUSED
        raise


def unplug_request(kernel: Kernel, nr_pages: int) -> Steps:
    """Unplug big blocks from the last on: those that are offline, then those that are
    movable as a whole, then any.

    Refuses with -EBUSY if not as many could be unplugged; with -ENOMEM at once.

    Source: virtio_mem_bbm_unplug_request().
    """
    vm = device_of(kernel)
    wanted = nr_pages // vm.block_pages
    for suits in (is_offline, is_movable, is_any):
        for block in reversed(vm.in_state(ADDED)):
            if wanted and suits(kernel, vm.block_pfns(block)):
                wanted -= yield from offline_remove_and_unplug_bb(kernel, block)
    if wanted:
        raise KernelRefusal(errno.EBUSY)


def online_sections(kernel: Kernel, pfns: PfnRange) -> list[PfnRange]:
    """Sections of *pfns* whose first page pfn_to_online_page() knows."""
    x = kernel.extents()
    sections = list(kernel.geometry.section_chunks(pfns))
    online = x.online_page[x.row_of(np.array([section.start_pfn for section in sections]))]
    return [section for section, is_online in zip(sections, online, strict=True) if is_online]


def is_offline(kernel: Kernel, pfns: PfnRange) -> bool:
    """virtio_mem_bbm_bb_is_offline()."""
    return not online_sections(kernel, pfns)


def is_movable(kernel: Kernel, pfns: PfnRange) -> bool:
    """virtio_mem_bbm_bb_is_movable()."""
    zones = (kernel.pfns.at(s.start_pfn, "zone") for s in online_sections(kernel, pfns))
    return all(zone == ZoneType.ZONE_MOVABLE for zone in zones)


def is_any(kernel: Kernel, pfns: PfnRange) -> bool:
    """Any block will do."""
    return True


def offline_remove_and_unplug_bb(kernel: Kernel, block: int) -> PartSteps:
    """Take all online pages of a big block from the allocator, then offline, remove and
    unplug it; 1, or 0 if it is busy and everything was given back. Refuses with -ENOMEM; any
    other error counts as busy.

    Before v6.5 the driver could be told to unplug unsafely: without taking the pages
    first. Then offlining tries again and again to move what is held, until a signal comes; to
    a worker none does.

    # Simplified: here it gives up all the same. An error other than these two broke the device
    before v6.5.

    Source: virtio_mem_bbm_offline_remove_and_unplug_bb(); commit f504e15b94eb
    ("virtio-mem: remove unsafe unplug in Big Block Mode (BBM)") (in v6.5).
    """
    vm = device_of(kernel)
    pfns = vm.block_pfns(block)
    taken = PfnRange(pfns.start_pfn, pfns.start_pfn)
    try:
        if kernel.layout.bbm_safe_unplug or not kernel.rules.virtio_mem_may_unplug_unsafely:
            vm.states[block] = FAKE_OFFLINE
            for section in online_sections(kernel, pfns):
                taken = PfnRange(pfns.start_pfn, section.start_pfn)
                yield from fake_offline(kernel, section)
            taken = pfns
        yield from offline_and_remove_memory(kernel, pfns, unmovable=False)
    except KernelRefusal as refusal:
        if refusal.errno == errno.EINTR:
            kernel.ledger.breach(Law.WORKER_WAITS_FOR_A_SIGNAL, pfns)
        for section in filter(taken.contains, online_sections(kernel, pfns)):
            yield from fake_online(kernel, section)
        vm.states[block] = ADDED
        if refusal.errno == errno.ENOMEM:
            raise
        return 0
    vm.states[block] = PLUGGED
    unplug(kernel, block, 0, 1)
    vm.states[block] = UNUSED
    yield "virtio_mem_bbm_unplug_bb"
    return 1
