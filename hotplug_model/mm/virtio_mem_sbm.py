"""virtio-mem's sub-block mode: parts of memory blocks come and go one by one."""

from __future__ import annotations

import errno
from contextlib import suppress

from hotplug_model.errors import KernelRefusal
from hotplug_model.kernel import Kernel
from hotplug_model.mm.memory_hotplug import add_memory, offline_and_remove_memory, remove_memory
from hotplug_model.mm.virtio_mem import device_of, fake_offline, fake_online, plug, unplug
from hotplug_model.rules import PartSteps, Steps
from hotplug_model.state.virtio_mem import SbmState

UNUSED, PLUGGED = SbmState.VIRTIO_MEM_SBM_MB_UNUSED, SbmState.VIRTIO_MEM_SBM_MB_PLUGGED
OFFLINE = SbmState.VIRTIO_MEM_SBM_MB_OFFLINE
OFFLINE_PARTIAL = SbmState.VIRTIO_MEM_SBM_MB_OFFLINE_PARTIAL
KERNEL, KERNEL_PARTIAL = (
    SbmState.VIRTIO_MEM_SBM_MB_KERNEL, SbmState.VIRTIO_MEM_SBM_MB_KERNEL_PARTIAL
)  # fmt: skip
MOVABLE, MOVABLE_PARTIAL = (
    SbmState.VIRTIO_MEM_SBM_MB_MOVABLE, SbmState.VIRTIO_MEM_SBM_MB_MOVABLE_PARTIAL
)  # fmt: skip
PARTIAL = (KERNEL_PARTIAL, MOVABLE_PARTIAL, OFFLINE_PARTIAL)
UNPLUGGED_FROM = (OFFLINE_PARTIAL, OFFLINE, MOVABLE_PARTIAL, KERNEL_PARTIAL, MOVABLE, KERNEL)


def cleanup_pending_mb(kernel: Kernel) -> Steps:
    """Unplug what is plugged but not added; remove what is added but not plugged.

    # Simplified: before 6.5 the driver did not try again to remove a block that it had
    unplugged as a whole.

    Source: virtio_mem_cleanup_pending_mb().
    """
    vm = device_of(kernel)
    for block in vm.in_state(PLUGGED):
        unplug_any_sb_raw(kernel, block, vm.parts)
        vm.states[block] = UNUSED
    for state in (MOVABLE_PARTIAL, KERNEL_PARTIAL, OFFLINE_PARTIAL):
        for block in vm.in_state(state):
            yield from try_remove_unplugged_mb(kernel, block)


# Plugging


def plug_request(kernel: Kernel, nr_pages: int) -> Steps:
    """Plug *nr_pages*: what is missing of blocks in use, then unused blocks, then new ones.

    Refuses with -ENOSPC if the region has no block any more, else as add_memory().

    Source: virtio_mem_sbm_plug_request().
    """
    vm = device_of(kernel)
    wanted = nr_pages // vm.part_pages
    for state in PARTIAL:
        for block in vm.in_state(state):
            if wanted:
                wanted = yield from plug_any_sb(kernel, block, wanted)
    for block in vm.in_state(UNUSED):
        if wanted:
            wanted = yield from plug_and_add_mb(kernel, block, wanted)
    while wanted:
        if vm.next_id > vm.last_usable_id:
            raise KernelRefusal(errno.ENOSPC)
        block = vm.next_id
        vm.states[block] = UNUSED
        wanted = yield from plug_and_add_mb(kernel, block, wanted)


def plug_any_sb(kernel: Kernel, block: int, wanted: int) -> PartSteps:
    """Plug the first unplugged sub-blocks of a block; how many are still wanted.

    Source: virtio_mem_sbm_plug_any_sb().
    """
    vm = device_of(kernel)
    state = vm.states[block]
    while wanted and vm.plugged[block] != vm.whole:
        first, count = first_unplugged(vm.plugged[block], min(wanted, vm.parts))
        count = min(count, vm.parts - first)
        plug(kernel, block, first, count)
        wanted -= count
        yield "virtio_mem_sbm_plug_sb"
        if state == OFFLINE_PARTIAL:
            continue
        # Sub-blocks that were never online may lie next to those that were.
        for part in range(first, first + count):
            yield from fake_online(kernel, vm.part_pfns(block, part))
    if vm.plugged[block] == vm.whole:
        vm.states[block] = SbmState(state - 1)
    return wanted


def first_unplugged(bits: int, most: int) -> tuple[int, int]:
    """The first clear bit, and how many are clear from there on, up to *most*."""
    first = (~bits & bits + 1).bit_length() - 1
    rest = bits >> first
    return first, min(most, (rest & -rest).bit_length() - 1 if rest else most)


def plug_and_add_mb(kernel: Kernel, block: int, wanted: int) -> PartSteps:
    """Plug the first sub-blocks of an unused block and add it; how many are still wanted.

    Source: virtio_mem_sbm_plug_and_add_mb().
    """
    vm = device_of(kernel)
    count = min(wanted, vm.parts)
    plug(kernel, block, 0, count)
    vm.states[block] = OFFLINE if count == vm.parts else OFFLINE_PARTIAL
    yield "virtio_mem_sbm_plug_sb"
    try:
        yield from add_memory(kernel, vm.nid, vm.block_pfns(block), 0)
    except KernelRefusal:
        vm.states[block] = PLUGGED
        with suppress(KernelRefusal):
            unplug(kernel, block, 0, count)
            vm.states[block] = UNUSED
        raise
    return wanted - count


# Unplugging


def unplug_request(kernel: Kernel, nr_pages: int) -> Steps:
    """Unplug *nr_pages*, from the last block on: offline ones first, partial ones before
    full ones, movable ones before the kernel's.

    Refuses with -EBUSY if not as much could be unplugged.

    Source: virtio_mem_sbm_unplug_request().
    """
    vm = device_of(kernel)
    wanted = nr_pages // vm.part_pages
    for state in UNPLUGGED_FROM:
        for block in reversed(vm.in_state(state)):
            if wanted:
                offline = state in (OFFLINE, OFFLINE_PARTIAL)
                how = unplug_any_sb_offline if offline else unplug_any_sb_online
                wanted = yield from how(kernel, block, wanted)
    if wanted:
        raise KernelRefusal(errno.EBUSY)


def unplug_any_sb_offline(kernel: Kernel, block: int, wanted: int) -> PartSteps:
    """Unplug the last plugged sub-blocks of an offline block; remove it if none is left.

    Source: virtio_mem_sbm_unplug_any_sb_offline().
    """
    vm = device_of(kernel)
    try:
        wanted = unplug_any_sb_raw(kernel, block, wanted)
    finally:
        if vm.plugged[block] != vm.whole:
            vm.states[block] = OFFLINE_PARTIAL
    yield "virtio_mem_sbm_unplug_sb"
    if not vm.plugged[block]:
        vm.states[block] = UNUSED
        yield from remove_memory(kernel, vm.block_pfns(block))
    return wanted


def unplug_any_sb_raw(kernel: Kernel, block: int, wanted: int) -> int:
    """Unplug the last plugged sub-blocks, as many as follow one another at a time.

    Source: virtio_mem_sbm_unplug_any_sb_raw().
    """
    vm = device_of(kernel)
    while wanted and vm.plugged[block]:
        last = vm.plugged[block].bit_length() - 1
        count = 1
        while count < wanted and last >= count and vm.plugged[block] >> (last - count) & 1:
            count += 1
        unplug(kernel, block, last - count + 1, count)
        wanted -= count
    return wanted


def unplug_any_sb_online(kernel: Kernel, block: int, wanted: int) -> PartSteps:
    """Unplug sub-blocks of an online block: all at once if that is wanted and none is in
    use, else one by one from the end. Offline and remove it if none is left.

    Source: virtio_mem_sbm_unplug_any_sb_online().
    """
    vm = device_of(kernel)
    if wanted >= vm.parts and vm.plugged[block] == vm.whole:
        wanted -= yield from unplug_sb_online(kernel, block, 0, vm.parts)
    for part in reversed(range(vm.parts)):
        if wanted and vm.plugged[block] >> part & 1:
            wanted -= yield from unplug_sb_online(kernel, block, part, 1)
    yield from try_remove_unplugged_mb(kernel, block)
    return wanted


def unplug_sb_online(kernel: Kernel, block: int, part: int, count: int) -> PartSteps:
    """Take sub-blocks from the allocator and unplug them; how many, none if they are busy.

    Source: virtio_mem_sbm_unplug_sb_online().
    """
    vm = device_of(kernel)
    pfns = vm.part_pfns(block, part, count)
    try:
        yield from fake_offline(kernel, pfns)
    except KernelRefusal as refusal:
        if refusal.errno == errno.EBUSY:
            return 0
        raise
    try:
        unplug(kernel, block, part, count)
    except KernelRefusal:
        yield from fake_online(kernel, pfns)
        raise
    if vm.states[block] in (KERNEL, MOVABLE):
        vm.states[block] = SbmState(vm.states[block] + 1)
    yield "virtio_mem_sbm_unplug_sb"
    return count


def try_remove_unplugged_mb(kernel: Kernel, block: int) -> Steps:
    """Offline and remove a block of which no sub-block is plugged. That may fail.

    Source: virtio_mem_sbm_try_remove_unplugged_mb().
    """
    vm = device_of(kernel)
    if vm.plugged[block]:
        return
    try:
        yield from offline_and_remove_memory(kernel, vm.block_pfns(block), unmovable=False)
    except KernelRefusal:
        return
    vm.states[block] = UNUSED
