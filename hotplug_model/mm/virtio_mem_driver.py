"""The driver itself: its life, and the work that a change of the wanted size starts."""

from __future__ import annotations

import errno

from hotplug_model.callbacks import Callbacks
from hotplug_model.errors import KernelRefusal
from hotplug_model.kernel import Kernel
from hotplug_model.mm import virtio_mem_bbm, virtio_mem_sbm
from hotplug_model.mm.memory_hotplug import remove_memory
from hotplug_model.mm.virtio_mem import device_of, memory_notifier_cb, online_page_cb
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.resource import Resource
from hotplug_model.state.virtio_mem import VirtioMem

WORK = "virtio_mem work"
"""Who holds it is the one run of the device's work queue; virtio_mem_remove() waits for it."""
TRIED_AGAIN = (errno.ENOSPC, errno.EBUSY, errno.ENOMEM)
"""With what a request may fail for now; anything else breaks the device."""


def probe(
    kernel: Kernel, pfns: PfnRange, nid: int, device_block_pages: int, force_bbm: bool
) -> Steps:
    """Take over a device whose memory lies in *pfns*, of which nothing is plugged.

    Sub-blocks are what the allocator can free reliably, or the blocks of the device if
    these are larger; if a memory block has only one, there are big blocks instead.

    Refuses with -EINVAL if another driver decides which pages go online, with -EBUSY if
    the region is claimed.

    Source: virtio_mem_probe(), virtio_mem_init_hotplug(), virtio_mem_create_resource().
    """
    if not kernel.iomem.request(Resource("virtio_mem", pfns, busy=False)):
        raise KernelRefusal(errno.EBUSY)
    if kernel.lender is not None or kernel.layout.hypervisor:
        kernel.iomem.release_resource(pfns)
        raise KernelRefusal(errno.EINVAL)
    part, block = sub_block_pages(kernel, device_block_pages), kernel.pages_per_block
    if part >= block or force_bbm:
        part = block = max(block, device_block_pages)
    kernel.lender = VirtioMem(region=pfns, nid=nid, block_pages=block, part_pages=part)
    kernel.callbacks = Callbacks(online_page_cb, memory_notifier_cb)
    yield "virtio_mem_probe"


def sub_block_pages(kernel: Kernel, device_block_pages: int) -> int:
    """``sbm.sb_size``: until alloc_contig_range() worked well with pageblocks it was the
    largest chunk of the allocator.

    Source: virtio_mem_init_hotplug().
    """
    geometry = kernel.geometry
    whole = kernel.rules.virtio_mem_sub_block_is_max_order
    unit = geometry.max_order_nr_pages if whole else geometry.pageblock_nr_pages
    return max(unit, device_block_pages)


def config_changed(kernel: Kernel, requested: int) -> Steps:
    """The hypervisor wants *requested* pages to be plugged: plug or unplug what differs.

    Never refuses: what fails is tried again when something changes.

    # Simplified: what has changed is another request. The kernel also tries again after a
    while, and after memory was removed; when a request comes in the middle of another, what is
    left of that is not tried. How much may be offline at a time has no limit (the larger of 1 GiB
    and two blocks).

    Source: virtio_mem_config_changed(), virtio_mem_run_wq(); cancel_work_sync() in
    virtio_mem_deinit_hotplug() for who waits, and what was not begun is not done any more.
    """
    vm = device_of(kernel)
    vm.requested = requested
    yield from kernel.locks.take(WORK)
    try:
        if kernel.lender is vm and not vm.broken:
            yield from run_wq(kernel)
    except KernelRefusal as refusal:
        vm.broken = refusal.errno not in TRIED_AGAIN
    finally:
        kernel.locks.drop(WORK)


def run_wq(kernel: Kernel) -> Steps:
    """One run of the work queue; fails with what could not be done."""
    vm = device_of(kernel)
    sbm, bbm = virtio_mem_sbm, virtio_mem_bbm
    yield from (sbm.cleanup_pending_mb if vm.in_sbm else bbm.unplug_pending_bb)(kernel)
    missing = vm.requested - vm.plugged_size
    if missing > 0:
        yield from (sbm.plug_request if vm.in_sbm else bbm.plug_request)(kernel, missing)
    elif missing < 0:
        yield from (sbm.unplug_request if vm.in_sbm else bbm.unplug_request)(kernel, -missing)
    yield "virtio_mem_run_wq"


def remove(kernel: Kernel) -> Steps:
    """Unload the driver: partly plugged blocks that are offline are removed, for nobody
    knows any more what of them is plugged. Online ones stay, and cannot go offline.

    # Simplified: if memory stays, so does the region, and the driver finds it claimed;
    what it then would have to unplug it does not find.

    Source: virtio_mem_remove(), virtio_mem_deinit_hotplug().
    """
    vm = device_of(kernel)
    vm.removing = True
    yield from kernel.locks.take(WORK)
    try:
        if kernel.lender is not vm:
            raise KernelRefusal(errno.ENODEV)
        for block in vm.in_state(virtio_mem_sbm.OFFLINE_PARTIAL) if vm.in_sbm else []:
            yield from remove_memory(kernel, vm.block_pfns(block))
        kernel.callbacks, kernel.lender = Callbacks(), None
        if not kernel.iomem.system_ram(vm.region):
            kernel.iomem.release_resource(vm.region)
    finally:
        kernel.locks.drop(WORK)
    yield "virtio_mem_remove"
