"""How requests that name memory blocks are to be answered: add, remove, online, offline."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

from hotplug_model.errors import EHWPOISON
from hotplug_model.flags import (
    MHP_MEMMAP_ON_MEMORY,
    BlockState,
    NotifierAction,
    OnlineType,
    PageFlag,
    SectionFlag,
    ZoneType,
)
from hotplug_model.invariants.answer import Answer, Arguments, within
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange, merge_ranges
from hotplug_model.state.resource import SYSTEM_RAM, Resource

BUSY = (errno.EBUSY, errno.EINTR)
"""What a page that is held may be answered with: whether the kernel tries again depends on
where it finds that."""

KERNEL_ZONES = (ZoneType.ZONE_DMA, ZoneType.ZONE_DMA32, ZoneType.ZONE_NORMAL)
NOT_FREED = PageFlag.PG_reserved | PageFlag.PG_hwpoison | PageFlag.PG_vmemmap_self_hosted
"""Marks of pages that onlining does not give to the buddy allocator."""

# System RAM


def why_not_add(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """Nothing to add or too much; an odd size, an unknown node; or somebody is there."""
    pfns = asked["pfns"]
    if pfns.nr_pages <= 0 or not kernel.geometry.all_pfns.contains(pfns):
        yield errno.E2BIG
        if not kernel.rules.mhp_range_allowed_first:
            yield errno.EEXIST
        return
    taken = kernel.iomem.is_claimed(pfns) or straddles(kernel.iomem, pfns)
    if taken or kernel.pfns.within(pfns, "subsection").any():
        yield errno.EEXIST
    if not pfns.is_aligned(kernel.pages_per_block) or asked["nid"] not in kernel.nodes:
        yield errno.EINVAL


def straddles(resource: Resource, pfns: PfnRange) -> bool:
    """Whether *pfns* lie partly in a region below *resource*, busy or not, and partly beside it."""
    inside = [child for child in resource.children if child.pfns.overlaps(pfns)]
    return any(not child.pfns.contains(pfns) or straddles(child, pfns) for child in inside)


def why_refuse_to_add(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """The same; a block that a failed add left, and a memmap on memory that kernels before
    v6.8 do not give up; arm64 before v5.0."""
    yield from why_not_add(kernel, asked)
    if kernel.geometry.arch == "arm64" and kernel.rules.arm64_memory_hotplug == "absent":
        yield errno.ENOENT
    if asked["pfns"].nr_pages > 0 and kernel.blocks_in(asked["pfns"]):
        yield errno.EEXIST
    if asked["mhp_flags"] and not kernel.rules.memmap_on_memory_falls_back:
        yield errno.EINVAL


def not_added(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """Pages without a memmap, blocks without a device, or not in the state that new memory
    shall be in, or that hold their memmap unasked; what iomem does not list, or memblock, where
    it outlives boot."""
    pfns, x = asked["pfns"], kernel.extents()
    yield from within(x, pfns, ~(x.subsection & x.pfn_valid & x.mapped))
    blocks = kernel.block_ids(pfns)
    yield from (kernel.block_pfns(each) for each in blocks if each not in kernel.blocks)
    yield from (kernel.block_pfns(each) for each in of_wrong_state(before, kernel, asked))
    if not asked.get("mhp_flags", 0) & MHP_MEMMAP_ON_MEMORY:
        hosting = (each for each in kernel.blocks_in(pfns) if kernel.blocks[each].altmap)
        yield from map(kernel.block_pfns, hosting)
    part, memblock = kernel.geometry.bytes_of(pfns), known_to_memblock(kernel)
    known = not kernel.keeps_memblock or any(each.contains(part) for each in memblock)
    if kernel.iomem.system_ram(pfns) != pfns.nr_pages or not known:
        yield pfns


def known_to_memblock(kernel: Kernel) -> tuple[PfnRange, ...]:
    """What memblock has for memory, in bytes."""
    return merge_ranges(PfnRange(each.base, each.end) for each in kernel.memblock.known())


def of_wrong_state(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """New blocks that went online though nobody wants that of new memory, or did not though
    nothing was in the way, or not to the zone that was wanted."""
    wanted = kernel.layout.memhp_default_state
    excused = before.vetoes or asked.get("fail_at") or kernel.rules.zones_at_add
    for block_id in kernel.blocks_in(asked["pfns"]):
        block = kernel.blocks[block_id]
        online = block.state == BlockState.MEM_ONLINE
        movable = block.zone == ZoneType.ZONE_MOVABLE
        if wanted == OnlineType.MMOP_OFFLINE:
            wrong = online
        else:
            meant = movable == (wanted == OnlineType.MMOP_ONLINE_MOVABLE)
            wrong = not excused and not (online and (meant or wanted == OnlineType.MMOP_ONLINE))
        if wrong:
            yield block_id


def whole_blocks(kernel: Kernel, pfns: PfnRange) -> bool:
    """Whether *pfns* are memory blocks, and nothing less."""
    return pfns.nr_pages > 0 and pfns.is_aligned(kernel.pages_per_block)


def not_offline_in(kernel: Kernel, pfns: PfnRange) -> list[int]:
    """Blocks in *pfns* that are not offline; none if these are no whole blocks."""
    found = kernel.blocks_in(pfns) if whole_blocks(kernel, pfns) else []
    return [each for each in found if kernel.blocks[each].state != BlockState.MEM_OFFLINE]


def why_not_remove(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """Not whole blocks, or a block that is not offline."""
    if not whole_blocks(kernel, asked["pfns"]):
        yield errno.EINVAL
    if not_offline_in(kernel, asked["pfns"]):
        yield errno.EBUSY


def why_refuse_to_remove(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """The same, and what removing refuses even where all is offline."""
    yield from why_not_remove(kernel, asked)
    yield from removal_is_odd(kernel, asked["pfns"])


def removal_is_odd(kernel: Kernel, pfns: PfnRange) -> Iterator[int]:
    """Blocks of which some hold their own memmap, or several before v6.8; tile, s390 in 4.9
    and arm64 before v5.7, where nothing is ever removed."""
    blocks = kernel.blocks_in(pfns) if whole_blocks(kernel, pfns) else []
    hosting = [each for each in blocks if kernel.blocks[each].altmap]
    one_only = kernel.rules.memmap_on_memory != "per_block"
    if hosting and (len(hosting) < len(kernel.block_ids(pfns)) or (one_only and len(blocks) > 1)):
        yield errno.EINVAL
    arch = kernel.geometry.arch
    s390 = arch == "s390" and not kernel.rules.s390_removes_memory
    if arch == "tile" or s390 or not kernel.memory_hotremove:
        yield errno.EBUSY


def not_removed(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """Blocks with a device; pages with a memmap, and what iomem or memblock still list, but
    for what has holes: its region is not cut up."""
    pfns, x = asked["pfns"], kernel.extents()
    yield from (kernel.block_pfns(each) for each in kernel.blocks_in(pfns))
    if before.iomem.system_ram(pfns) not in (0, pfns.nr_pages):
        return
    yield from within(x, pfns, x.subsection)
    part = kernel.geometry.bytes_of(pfns)
    known = kernel.keeps_memblock and any(each.overlaps(part) for each in known_to_memblock(kernel))
    if kernel.iomem.system_ram(pfns) or known:
        yield pfns


def why_not_offline_and_remove(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """Not whole blocks, or one that is online and may not go offline."""
    if not whole_blocks(kernel, asked["pfns"]):
        yield errno.EINVAL
    for each in not_offline_in(kernel, asked["pfns"]):
        yield from why_not_offline(kernel, asked | {"block_id": each})


def why_refuse_to_offline_and_remove(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """The same, where offlining or removing may be refused."""
    yield from why_not_offline_and_remove(kernel, asked)
    yield from removal_is_odd(kernel, asked["pfns"])
    for each in not_offline_in(kernel, asked["pfns"]):
        yield from why_refuse_to_offline(kernel, asked | {"block_id": each})


# Memory blocks


def why_not_online(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """No such block, or one that is online; a page of it broke; a notifier is against it."""
    block = kernel.blocks.get(asked["block_id"])
    if block is None:
        yield errno.ENOENT
        return
    if block.state != BlockState.MEM_OFFLINE:
        yield errno.EINVAL
    if block.broken and kernel.rules.online_rejects_broken_pages:
        yield EHWPOISON
    if NotifierAction.MEM_GOING_ONLINE in kernel.vetoes:
        yield errno.EPERM


def why_refuse_to_online(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """The same, what virtio-mem says of its own, and zones that may not shift before v4.13."""
    yield from why_not_online(kernel, asked)
    if kernel.callbacks.memory_notifier is not None:
        yield errno.EPERM
    if kernel.rules.zones_at_add:
        yield errno.EINVAL


def not_online(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """Memory that does not count as online, or that no driver lends and the buddy allocator
    does not have, and a block in another state or zone."""
    pfns, x = kernel.block_pfns(asked["block_id"]), kernel.extents()
    lent = kernel.lender.lent if kernel.lender is not None else []
    kept = kernel.layout.hypervisor or any(each.overlaps(pfns) for each in lent)
    lost = ~x.is_managed & ~x.page_has(NOT_FREED)
    for ram in kernel.iomem.named(SYSTEM_RAM):
        if ram.overlaps(pfns):
            yield from within(x, ram.intersection(pfns), ~x.is_online_ram)
            yield from [] if kept else within(x, ram.intersection(pfns), lost)
    block = kernel.blocks[asked["block_id"]]
    movable = asked["online_type"] == "online_movable"
    anywhere = asked["online_type"] == "online"
    if anywhere:
        movable = is_meant_to_be_movable(before, block.nid, pfns)
    # What rules name a zone otherwise is judged by itself.
    odd = anywhere and (kernel.rules.zones_at_add or kernel.rules.zone_for_pfn_range_truncates)
    wrong_zone = movable != (block.zone == ZoneType.ZONE_MOVABLE) and not odd
    if block.state != BlockState.MEM_ONLINE or wrong_zone:
        yield pfns


def is_meant_to_be_movable(kernel: Kernel, nid: int, pfns: PfnRange) -> bool:
    """Whether memory that may go online anywhere goes to ZONE_MOVABLE: where a zone spans it
    there, and movable_node decides if none does or several do."""
    movable = kernel.zone(nid, ZoneType.ZONE_MOVABLE).intersects(pfns)
    others = any(kernel.zone(nid, each).intersects(pfns) for each in KERNEL_ZONES)
    return movable if movable != others else kernel.layout.movable_node


def why_not_offline(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """No such block, or one that is not online; a page of it is held; a notifier says no."""
    block = kernel.blocks.get(asked["block_id"])
    if block is None:
        yield errno.ENOENT
        return
    if block.state != BlockState.MEM_ONLINE:
        yield errno.EINVAL
        return
    flags, refs = pages_of(kernel, asked["block_id"])
    marked = flags & (PageFlag.PG_offline | PageFlag.PG_hwpoison) != 0
    if asked["unmovable"] or ((refs > 0) & ~marked).any():
        yield from BUSY
    if NotifierAction.MEM_GOING_OFFLINE in kernel.vetoes:
        yield errno.EPERM


def why_refuse_to_offline(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """The same; pages that are reserved, marked or broken and held; holes, several zones;
    what dates from boot on arm64, and all before v5.7; and what virtio-mem says of its own."""
    yield from why_not_offline(kernel, asked)
    if asked["block_id"] not in kernel.blocks:
        return
    pfns = kernel.block_pfns(asked["block_id"])
    flags, refs = pages_of(kernel, asked["block_id"])
    if (flags & PageFlag.PG_reserved != 0).any() or (refs > 0).any():
        yield from BUSY
    early = kernel.pfns.within(pfns, "section_flags") & SectionFlag.IS_EARLY != 0
    if early.any() and kernel.geometry.arch == "arm64":
        yield errno.EPERM
    if kernel.callbacks.memory_notifier is not None:
        yield errno.EPERM
    zones = kernel.pfns.within(pfns, "zone")
    several = (zones != zones[0]).any() or kernel.blocks[asked["block_id"]].zone is None
    holes = kernel.iomem.system_ram(pfns) != pfns.nr_pages
    if several or holes or not kernel.memory_hotremove:
        yield errno.EINVAL


def pages_of(kernel: Kernel, block_id: int) -> tuple[Any, Any]:
    """(nr_runs,) flags and counts of a block's pages that do not hold its own memmap."""
    pfns, block = kernel.block_pfns(block_id), kernel.blocks[block_id]
    rest = PfnRange(pfns.start_pfn + block.nr_vmemmap_pages, pfns.end_pfn)
    return kernel.pfns.within(rest, "page_flags"), kernel.pfns.within(rest, "refcount")


def not_offline(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """Sections that say online, pages that the buddy allocator has, and the block's state."""
    pfns, x = kernel.block_pfns(asked["block_id"]), kernel.extents()
    yield from within(x, pfns, x.section_has_online | x.is_managed)
    if kernel.blocks[asked["block_id"]].state != BlockState.MEM_OFFLINE:
        yield pfns


ANSWERS_OF_BLOCKS: dict[str, Answer] = {
    "add_memory": Answer(why_refuse_to_add, why_not_add, not_added),
    "remove_memory": Answer(why_refuse_to_remove, why_not_remove, not_removed),
    "offline_and_remove_memory": Answer(
        why_refuse_to_offline_and_remove, why_not_offline_and_remove, not_removed
    ),
    "online_memory_block": Answer(why_refuse_to_online, why_not_online, not_online),
    "offline_memory_block": Answer(why_refuse_to_offline, why_not_offline, not_offline),
}
"""Operation -> how it is answered."""
