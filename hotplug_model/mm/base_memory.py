"""Memory block devices: drivers/base/memory.c and device_online() of drivers/base/core.c."""

from __future__ import annotations

import errno
from typing import TypeAlias

from hotplug_model.errors import EHWPOISON, KernelRefusal
from hotplug_model.flags import BlockState, OnlineType, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.mm.online import (
    mhp_deinit_memmap_on_memory,
    mhp_init_memmap_on_memory,
    offline_pages,
    online_pages,
)
from hotplug_model.mm.zone_for_memory import move_pfn_range, zone_can_shift
from hotplug_model.mm.zones import adjust_present_page_count, zone_for_pfn_range
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.faults import Allocation
from hotplug_model.state.ledger import Law
from hotplug_model.state.memory_block import MemoryBlock

ZoneLinks: TypeAlias = list[tuple[PfnRange, int, ZoneType]]
"""Blocks that are to go, each with its node and the zone that still counts its pages."""


def create_memory_block_devices(
    kernel: Kernel, pfns: PfnRange, nid: int, altmap: Altmap | None
) -> Steps:
    """Register an offline block for every block of *pfns*.

    Refuses with -ENOMEM if one cannot be registered, and unregisters those before it.

    Source: create_memory_block_devices(); __device_attach() in drivers/base/dd.c.
    """
    for block_id in kernel.block_ids(pfns):
        try:
            yield from init_memory_block(kernel, block_id, nid, altmap)
        except KernelRefusal:
            done = PfnRange(pfns.start_pfn, kernel.block_pfns(block_id).start_pfn)
            remove_memory_block_devices(kernel, done)
            raise
    know_zones(kernel, pfns)
    yield "create_memory_block_devices"


def init_memory_block(kernel: Kernel, block_id: int, nid: int, altmap: Altmap | None) -> Steps:
    """Register one block. Refuses with -ENOMEM, and then its device is released, which must
    not hold an altmap.

    # Simplified: that there is not even a device to register is not told from that.

    Source: add_memory_block(), the warning in memory_block_release(); commit a2b8d7827f48
    ("drivers/base/memory: set mem->altmap after successful device registration") (in v7.2).
    """
    try:
        kernel.faults.allocate(Allocation.MEMORY_BLOCK)
    except KernelRefusal:
        if altmap is not None and kernel.rules.block_altmap_stored == "first":
            kernel.ledger.breach(Law.ALTMAP_IN_USE_AT_TEARDOWN, kernel.block_pfns(block_id))
        raise
    kernel.blocks[block_id] = MemoryBlock(nid=nid, state=BlockState.MEM_OFFLINE, altmap=altmap)
    kernel.set_block_state(block_id, BlockState.MEM_OFFLINE)
    # User space sees the device before it is probed, under its lock.
    yield "device_add"
    yield from kernel.locks.take(device_lock(block_id))
    kernel.locks.drop(device_lock(block_id))


def hotplug_memory_register(
    kernel: Kernel, section: PfnRange, nid: int, altmap: Altmap | None
) -> Steps:
    """Before 5.3 the first section of a block brings the block.

    Refuses with -ENOMEM, and the section stays.

    Source: hotplug_memory_register(), register_new_memory() (5.2).
    """
    for block_id in kernel.block_ids(section):
        if block_id not in kernel.blocks:
            yield from init_memory_block(kernel, block_id, nid, altmap)


def know_zones(kernel: Kernel, pfns: PfnRange) -> None:
    """Before 4.13 the blocks of *pfns* belong to a zone as soon as they are added."""
    if kernel.rules.zones_at_add:
        for block_id in kernel.blocks_in(pfns):
            start = kernel.block_pfns(block_id).start_pfn
            kernel.blocks[block_id].zone = ZoneType(kernel.pfns.at(start, "zone"))


def device_lock(block_id: int) -> str:
    """``device_lock()`` of a memory block's device."""
    return f"memory{block_id} device_lock"


def remove_memory_block_devices(kernel: Kernel, pfns: PfnRange) -> None:
    """Unregister the blocks in *pfns*; what broke in them is counted no more.

    Source: remove_memory_block_devices(); commit 5033091de814 (in v6.2) for the count.
    """
    for block_id in kernel.blocks_in(pfns):
        block = kernel.blocks.pop(block_id)
        if kernel.rules.blocks_take_off_broken_pages:
            kernel.num_poisoned_pages -= len(block.broken)
        kernel.set_block_state(block_id, BlockState.NONE)


def remove_devices(kernel: Kernel, pfns: PfnRange) -> Steps:
    """remove_memory_block_devices(), and a milestone."""
    remove_memory_block_devices(kernel, pfns)
    yield "remove_memory_block_devices"


def online_new_blocks(kernel: Kernel, pfns: PfnRange) -> Steps:
    """Online each new block by default policy; the walk ends at the first failure."""
    for block_id in kernel.blocks_in(pfns):
        try:
            kernel.blocks[block_id].online_type = kernel.layout.memhp_default_state
            yield from device_online(kernel, block_id)
        except KernelRefusal:
            return


def zone_links(kernel: Kernel, pfns: PfnRange) -> ZoneLinks:
    """The blocks in *pfns*, each with its node and the zone that it is still in: before 5.5 a
    zone kept offline pages until they were removed."""
    if kernel.rules.remove_pfn_range_from_zone_at_offline:
        return []
    blocks = [(block_id, kernel.blocks[block_id]) for block_id in kernel.blocks_in(pfns)]
    return [(kernel.block_pfns(n), b.nid, b.zone) for n, b in blocks if b.zone is not None]


def state_store(
    kernel: Kernel, block_id: int, online_type: OnlineType, unmovable: bool = False
) -> Steps:
    """Write to ``memoryN/state``.

    Refuses with -ENOENT if there is no such block, with -EINVAL if it is in that state
    already, else with what onlining and offlining refuse with.

    Source: state_store(); lock_device_hotplug_sysfs() in drivers/base/core.c.
    """
    yield from kernel.locks.take("device_hotplug_lock")
    try:
        # Whoever has the file open while the device goes tries again, and finds no file.
        if block_id not in kernel.blocks:
            raise KernelRefusal(errno.ENOENT)
        block = kernel.blocks[block_id]
        offline = block.state == BlockState.MEM_OFFLINE
        if online_type != OnlineType.MMOP_OFFLINE:
            # Stored even if the block turns out to be online: a later onlining that
            # names no type will use it.
            block.online_type = online_type
        if offline == (online_type == OnlineType.MMOP_OFFLINE):
            raise KernelRefusal(errno.EINVAL)
        if offline:
            yield from device_online(kernel, block_id)
        else:
            yield from device_offline(kernel, block_id, unmovable)
    finally:
        kernel.locks.drop("device_hotplug_lock")


def device_online(kernel: Kernel, block_id: int) -> Steps:
    """Online a block; nothing happens if it is online, or gone.

    Source: device_online() in drivers/base/core.c, memory_subsys_online().
    """
    yield from kernel.locks.take(device_lock(block_id))
    try:
        block = kernel.blocks.get(block_id)
        if block is not None and block.state != BlockState.MEM_ONLINE:
            yield from memory_block_online(kernel, block_id)
    finally:
        kernel.locks.drop(device_lock(block_id))


def memory_block_online(kernel: Kernel, block_id: int) -> Steps:
    """Online a block as its ``online_type`` says and cache its zone. The type is used up.

    Refuses with -EHWPOISON if a page of it broke, else as online_pages() does.

    Source: memory_block_online(), memory_subsys_online(); commit 5033091de814 (in v6.2).
    """
    block = kernel.blocks[block_id]
    online_type = block.online_type or OnlineType.MMOP_ONLINE
    block.online_type = OnlineType.MMOP_OFFLINE
    if block.broken and kernel.rules.online_rejects_broken_pages:
        raise KernelRefusal(EHWPOISON)
    pfns, nr_vmemmap = kernel.block_pfns(block_id), block.nr_vmemmap_pages
    zone_type = online_zone(kernel, block_id, online_type)
    memmap = PfnRange(pfns.start_pfn, pfns.start_pfn + nr_vmemmap)
    rest = PfnRange(memmap.end_pfn, pfns.end_pfn)
    takes = kernel.rules.online_takes_mem_hotplug_lock
    whole = kernel.rules.self_hosted_memmap_under_lock
    online = holding_lock(
        kernel, takes and not whole, online_pages(kernel, rest, block.nid, zone_type)
    )
    yield from holding_lock(
        kernel, takes and whole, online_with_memmap(kernel, block_id, memmap, zone_type, online)
    )
    kernel.set_block_state(block_id, BlockState.MEM_ONLINE)
    yield "memory_block_online"


def online_zone(kernel: Kernel, block_id: int, online_type: OnlineType) -> ZoneType:
    """The zone that a block goes online in. Before v4.13 refuses as zone_can_shift()."""
    if kernel.rules.zones_at_add:
        return zone_can_shift(kernel, block_id, online_type)
    block = kernel.blocks[block_id]
    return zone_for_pfn_range(kernel, online_type, block.nid, kernel.block_pfns(block_id))


def online_with_memmap(
    kernel: Kernel, block_id: int, memmap: PfnRange, zone_type: ZoneType, online: Steps
) -> Steps:
    """Set up the block's own memmap, online the rest, count both."""
    block = kernel.blocks[block_id]
    if kernel.rules.zones_at_add and block.zone != zone_type:
        yield from move_pfn_range(kernel, block_id, zone_type)
    yield from mhp_init_memmap_on_memory(kernel, memmap, block.nid, zone_type)
    try:
        yield from online
    except KernelRefusal:
        yield from mhp_deinit_memmap_on_memory(kernel, memmap, block.nid, zone_type)
        raise
    if block.nr_vmemmap_pages:
        adjust_present_page_count(kernel, block.nid, zone_type, block.nr_vmemmap_pages)
    block.zone = zone_type
    block.left_offline = False


def holding_lock(kernel: Kernel, really: bool, steps: Steps) -> Steps:
    """*steps* between mem_hotplug_begin() and mem_hotplug_done(), if *really*.

    Source: commit 381eab4a6ee8 ("mm/memory_hotplug: fix online/offline_pages called w.o.
    mem_hotplug_lock") (in v4.20); commit 001002e73712 ("mm/memory_hotplug: add missing
    mem_hotplug_lock") (in v6.7).
    """
    if not really:
        yield from steps
        return
    yield from kernel.locks.take("mem_hotplug_lock")
    try:
        yield from steps
    finally:
        kernel.locks.drop("mem_hotplug_lock")


def device_offline(kernel: Kernel, block_id: int, unmovable: bool) -> Steps:
    """memory_block_offline() with the lock of the block's device.

    Source: device_offline() in drivers/base/core.c.
    """
    yield from kernel.locks.take(device_lock(block_id))
    try:
        yield from memory_block_offline(kernel, block_id, unmovable)
    finally:
        kernel.locks.drop(device_lock(block_id))


def memory_block_offline(kernel: Kernel, block_id: int, unmovable: bool) -> Steps:
    """Offline a block; its state falls back to online if that fails.

    Refuses with -EINVAL if the block has no single zone, else as offline_pages().

    Source: memory_block_offline(), memory_subsys_offline().
    """
    block = kernel.blocks[block_id]
    start = kernel.block_pfns(block_id).start_pfn
    memmap = PfnRange(start, start + block.nr_vmemmap_pages)
    kernel.set_block_state(block_id, BlockState.MEM_GOING_OFFLINE)
    takes = kernel.rules.online_takes_mem_hotplug_lock
    whole = kernel.rules.self_hosted_memmap_under_lock
    inner = takes and not whole
    try:
        yield from holding_lock(
            kernel, takes and whole, offline_with_memmap(kernel, block_id, memmap, unmovable, inner)
        )
    except KernelRefusal:
        kernel.set_block_state(block_id, BlockState.MEM_ONLINE)
        raise
    kernel.set_block_state(block_id, BlockState.MEM_OFFLINE)
    yield "memory_block_offline"


def offline_with_memmap(
    kernel: Kernel, block_id: int, memmap: PfnRange, unmovable: bool, locks: bool
) -> Steps:
    """Offline what does not hold the block's own memmap, then that; count both."""
    block, nr_vmemmap = kernel.blocks[block_id], memmap.nr_pages
    rest = PfnRange(memmap.end_pfn, kernel.block_pfns(block_id).end_pfn)
    zone_type = offline_zone(kernel, block_id, rest)
    if nr_vmemmap:
        adjust_present_page_count(kernel, block.nid, zone_type, -nr_vmemmap)
    try:
        yield from holding_lock(
            kernel, locks, offline_pages(kernel, rest, block.nid, zone_type, unmovable)
        )
    except KernelRefusal:
        if nr_vmemmap:
            adjust_present_page_count(kernel, block.nid, zone_type, nr_vmemmap)
        raise
    yield from mhp_deinit_memmap_on_memory(kernel, memmap, block.nid, zone_type)
    shrunk = kernel.rules.remove_pfn_range_from_zone_at_offline
    block.zone = None if shrunk else zone_type


def offline_zone(kernel: Kernel, block_id: int, pfns: PfnRange) -> ZoneType:
    """The zone to offline from, after the tests that need no isolation.

    Refuses with -EINVAL for a range with holes and for a block of several zones.
    """
    holes = kernel.iomem.system_ram(pfns) != pfns.nr_pages
    zone_type = kernel.rules.block_zone(kernel, block_id)
    if zone_type is None or (holes and kernel.rules.offline_rejects_holes):
        raise KernelRefusal(errno.EINVAL)
    return zone_type


def cached_block_zone(kernel: Kernel, block_id: int) -> ZoneType | None:
    """``memory_block.zone``, set at boot and when the block goes online.

    Source: commit 395f6081bad4 (in v5.18).
    """
    return kernel.blocks[block_id].zone


def current_online_type(kernel: Kernel, block_id: int) -> OnlineType:
    """How to online the block again: what its first page's zone says.

    Source: try_offline_memory_block().
    """
    start = kernel.block_pfns(block_id).start_pfn
    x = kernel.extents()
    row = x.row_at(start)
    if not x.online_page[row]:
        return OnlineType.MMOP_ONLINE_KERNEL
    movable = x.zone[row] == ZoneType.ZONE_MOVABLE
    return OnlineType.MMOP_ONLINE_MOVABLE if movable else OnlineType.MMOP_ONLINE_KERNEL


def valid_zones_show(kernel: Kernel, block_id: int) -> list[ZoneType]:
    """What ``memoryN/valid_zones`` lists; empty for "none".

    Source: valid_zones_show().
    """
    block, pfns = kernel.blocks[block_id], kernel.block_pfns(block_id)
    if block.state == BlockState.MEM_ONLINE:
        zone_type = kernel.rules.block_zone(kernel, block_id)
        return [] if zone_type is None else [zone_type]
    wanted = (
        OnlineType.MMOP_ONLINE, OnlineType.MMOP_ONLINE_KERNEL, OnlineType.MMOP_ONLINE_MOVABLE
    )  # fmt: skip
    zones = [zone_for_pfn_range(kernel, each, block.nid, pfns) for each in wanted]
    return list(dict.fromkeys(zones))
