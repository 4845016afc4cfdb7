"""How requests to drivers are to be answered, which make other requests in turn.

What a driver tries again later, or gives up without a word, is excused where there is a reason.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

from hotplug_model.callbacks import Callbacks
from hotplug_model.flags import PageFlag
from hotplug_model.invariants.answer import Answer, Arguments
from hotplug_model.invariants.answers_blocks import (
    not_added,
    not_offline_in,
    not_removed,
    removal_is_odd,
    why_not_offline,
    why_refuse_to_add,
    why_refuse_to_remove,
)
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange
from hotplug_model.state.faults import Allocation
from hotplug_model.state.hv_balloon import HvBalloon, without
from hotplug_model.state.resource import KMEM, KMEM_LEFT
from hotplug_model.state.virtio_mem import SbmState, VirtioMem

SPARE = int(PageFlag.MANAGED | PageFlag.PG_offline | PageFlag.PG_dirty)
"""Flags of pages that virtio-mem can take, or has taken."""


def cannot_be_added(kernel: Kernel, pfns: PfnRange) -> bool:
    """Whether there is any reason to refuse *pfns*, or somebody has a region there."""
    asked = {"pfns": pfns, "nid": 0, "mhp_flags": 0}
    return any(why_refuse_to_add(kernel, asked)) or region_is_taken(kernel, pfns)


def region_is_taken(kernel: Kernel, pfns: PfnRange) -> bool:
    """Whether any region overlaps, busy or not."""
    return any(each.pfns.overlaps(pfns) for each in kernel.iomem.children)


# dax/kmem


def blocks_filled(kernel: Kernel, ranges: Sequence[PfnRange]) -> list[PfnRange]:
    """The whole memory blocks in each of *ranges* that has some."""
    size = kernel.pages_per_block
    cut = [PfnRange(-(-r.start_pfn // size) * size, r.end_pfn // size * size) for r in ranges]
    return [pfns for pfns in cut if pfns.nr_pages > 0]


def why_not_bind(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """A device is bound already, or no range of this one fills a block."""
    if kernel.iomem.named(KMEM):
        yield errno.EBUSY
    if not blocks_filled(kernel, asked["ranges"]):
        yield errno.EINVAL


def why_refuse_to_bind(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """The same; a range that somebody has, or that cannot be added."""
    yield from why_not_bind(kernel, asked)
    for pfns in blocks_filled(kernel, asked["ranges"]):
        if region_is_taken(kernel, pfns):
            yield errno.EBUSY
        yield from why_refuse_to_add(kernel, {"pfns": pfns, "nid": 0, "mhp_flags": 0})


def not_bound(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """Memory that could be added and is not, or that is not below the driver's region; a
    driver that has bound a device and has none of its memory."""
    ranges = blocks_filled(before, asked["ranges"])
    if not kernel.iomem.named(KMEM):
        yield from ranges
    for number, pfns in enumerate(ranges):
        again = any(pfns.overlaps(other) for other in ranges[:number])
        if asked["fail_at"] or again or cannot_be_added(before, pfns):
            continue
        yield from not_added(before, kernel, {"pfns": pfns})
        if pfns not in kernel.iomem.named(KMEM):
            yield pfns


def why_not_unbind(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """No device is bound. Nothing else can be an answer: the kernel returns none."""
    if not kernel.iomem.named(KMEM):
        yield errno.ENODEV


def not_unbound(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """Memory that could be removed and is not, and a region that is still the driver's."""
    yield from kernel.iomem.named(KMEM)
    for pfns in before.iomem.named(KMEM):
        stays = any(why_refuse_to_remove(before, {"pfns": pfns}))
        if not stays and len(before.blocks_in(pfns)) == len(before.block_ids(pfns)):
            yield from not_removed(before, kernel, {"pfns": pfns})
            yield from (each for each in kernel.iomem.named(KMEM_LEFT) if each == pfns)


# virtio-mem


def why_not_probe(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """The region is claimed, or another driver decides what goes online."""
    if kernel.iomem.is_claimed(asked["pfns"]):
        yield errno.EBUSY
    if kernel.lender is not None or kernel.layout.hypervisor:
        yield errno.EINVAL


def why_refuse_to_probe(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """The same; a region that is not busy overlaps."""
    yield from why_not_probe(kernel, asked)
    if region_is_taken(kernel, asked["pfns"]):
        yield errno.EBUSY


def not_probed(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """A device that the driver does not have, or has in the wrong mode; no region."""
    vm, whole = kernel.lender, kernel.rules.virtio_mem_sub_block_is_max_order
    sizes = kernel.geometry
    unit = sizes.max_order_nr_pages if whole else sizes.pageblock_nr_pages
    small = max(unit, asked["device_block_pages"]) < kernel.pages_per_block
    right = isinstance(vm, VirtioMem) and vm.region == asked["pfns"] and not vm.plugged
    by_parts = isinstance(vm, VirtioMem) and vm.in_sbm
    listed = regions(kernel, asked["pfns"]) > regions(before, asked["pfns"])
    if not right or not listed or by_parts != (small and not asked["force_bbm"]):
        yield asked["pfns"]


def regions(kernel: Kernel, pfns: PfnRange) -> int:
    """How many regions of virtio-mem are exactly *pfns*: memory that stays keeps an old one."""
    return kernel.iomem.named("virtio_mem").count(pfns)


def no_device(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """There is no device of virtio-mem."""
    if not isinstance(kernel.lender, VirtioMem):
        yield errno.ENODEV


def why_refuse_to_let_go(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """The same; blocks that nobody can remove."""
    yield from no_device(kernel, asked)
    if isinstance(kernel.lender, VirtioMem):
        yield from removal_is_odd(kernel, kernel.lender.region)


def not_resized(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """A size that is not what was wanted, nor nearer to it, if nothing was in the way; blocks
    that are empty and not gone, or that are plugged and for nobody."""
    old, vm = before.lender, kernel.lender
    if not isinstance(old, VirtioMem) or not isinstance(vm, VirtioMem):
        return
    # The driver expects that what is offline can be removed.
    if any(removal_is_odd(before, old.region)):
        return
    wanted, got = asked["requested_pages"], vm.plugged_size
    # Plugged but not added has the same number in both modes, and is unplugged first.
    pending = bool(old.in_state(SbmState.VIRTIO_MEM_SBM_MB_PLUGGED))
    low, high = sorted((old.plugged_size, wanted))
    # Want of memory does not break the driver, nor does a page that is in use; the -EFAULT of
    # powerpc's linear map does, and the -EEXIST of a region that could not be had.
    odd = (Allocation.LINEAR_MAP.value, Allocation.RESOURCE.value)
    fault = str(asked["fail_at"]).startswith(odd)
    breaks = vm.broken and not (old.broken or fault or may_not_grow(before, old, wanted))
    if vm.requested != wanted or not (low <= got <= high or pending) or breaks:
        yield vm.region
    if asked["fail_at"] or old.broken or before.vetoes:
        return
    if vm.in_state(SbmState.VIRTIO_MEM_SBM_MB_PLUGGED):
        yield vm.region
    shrinks = wanted < old.plugged_size
    excused = may_not_shrink(before, old) if shrinks else may_not_grow(before, old, wanted)
    if abs(got - wanted) >= vm.part_pages and not excused:
        yield vm.region
    empty = (vm.block_pfns(block) for block in vm.states if not vm.plugged.get(block))
    yield from (pfns for pfns in empty if kernel.blocks_in(pfns) and not must_stay(kernel, pfns))


def may_not_grow(kernel: Kernel, vm: VirtioMem, wanted: int) -> bool:
    """Whether the region is too small, or somebody is in it."""
    blocks = range(vm.first_id, vm.last_usable_id + 1)
    size = vm.block_pages
    every = [PfnRange(each * size, (each + 1) * size) for each in blocks]
    unused = [pfns for pfns in every if not kernel.blocks_in(pfns)]
    asked = [{"pfns": pfns, "nid": vm.nid, "mhp_flags": 0} for pfns in unused]
    taken = any(any(why_refuse_to_add(kernel, each)) for each in asked)
    return taken or wanted > len(blocks) * vm.block_pages


def may_not_shrink(kernel: Kernel, vm: VirtioMem) -> bool:
    """Whether not all that is plugged and online is free to be taken, or a big block may not go
    offline."""
    x = kernel.extents()
    held = (x.refcount != 0) & ~x.page_has(PageFlag.PG_offline)
    odd = (x.page_flags & ~SPARE) != 0
    online = x.touched([vm.region]) & x.is_online_ram
    return bool((online & (held | odd)).any()) or (not vm.in_sbm and must_stay(kernel, vm.region))


def must_stay(kernel: Kernel, pfns: PfnRange) -> bool:
    """Whether blocks in *pfns* may not be offlined and removed."""
    if any(removal_is_odd(kernel, pfns)):
        return True
    asked = {"unmovable": False, "fail_at": None}
    return any(
        any(why_not_offline(kernel, asked | {"block_id": each}))
        or kernel.blocks[each].zone is None
        for each in not_offline_in(kernel, pfns)
    )


def not_let_go(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """A driver that is still there; blocks of which nobody knows any more what is plugged."""
    vm = before.lender
    if not isinstance(vm, VirtioMem):
        return
    if kernel.lender is not None or kernel.callbacks != Callbacks():
        yield vm.region
    partial = SbmState.VIRTIO_MEM_SBM_MB_OFFLINE_PARTIAL
    for block in vm.in_state(partial) if vm.in_sbm else []:
        if not any(why_refuse_to_remove(before, {"pfns": vm.block_pfns(block)})):
            yield from not_removed(before, kernel, {"pfns": vm.block_pfns(block)})
    if not kernel.iomem.system_ram(vm.region) and regions(kernel, vm.region) >= regions(
        before, vm.region
    ):
        yield vm.region


# Hyper-V


def not_hyper_v(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """The machine is no guest of Hyper-V. The driver itself never refuses: it says how much."""
    if not isinstance(kernel.lender, HvBalloon):
        yield errno.ENODEV


def not_hot_added(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """Blocks that are backed, if they are in no region yet and nobody is in the way; blocks
    that are not. Pages that count as backed, or do not any more, and others than those that the
    host has backed now."""
    device, pfns = before.lender, asked["pfns"]
    if not isinstance(device, HvBalloon) or not device.do_hot_add:
        return
    was, now = backed(before), backed(kernel)
    yield from (part for each in now for part in without(each, [*was, pfns]))
    yield from (part for each in was for part in without(each, now))
    if asked["fail_at"]:
        return
    # Memory that is in the way stops the driver, which then leaves alone what others have added.
    if isinstance(kernel.lender, HvBalloon) and kernel.lender.do_hot_add:
        for region in kernel.lender.regions:
            added = PfnRange(region.start_pfn, region.ha_end_pfn)
            yield from without(pfns.intersection(added), now)
    blocks = [before.block_pfns(each) for each in before.block_ids(pfns)]
    known = any(region.pfns.overlaps(each) for region in device.regions for each in blocks)
    if not known and not any(cannot_be_added(before, b) for b in blocks):
        for each in blocks:
            yield from not_added(before, kernel, {"pfns": each})
        more = kernel.blocks.keys() - before.blocks.keys() - {*before.block_ids(pfns)}
        yield from map(kernel.block_pfns, sorted(more))


def backed(kernel: Kernel) -> list[PfnRange]:
    """What the driver believes that the host is behind."""
    device = kernel.lender
    regions = device.regions if isinstance(device, HvBalloon) else []
    return [part for region in regions for part in region.backed(region.pfns)]


ANSWERS_OF_DRIVERS: dict[str, Answer] = {
    "dax_kmem_probe": Answer(why_refuse_to_bind, why_not_bind, not_bound),
    "dax_kmem_remove": Answer(why_not_unbind, why_not_unbind, not_unbound),
    "virtio_mem_probe": Answer(why_refuse_to_probe, why_not_probe, not_probed),
    "virtio_mem_request": Answer(no_device, no_device, not_resized),
    "virtio_mem_remove": Answer(why_refuse_to_let_go, no_device, not_let_go),
    "hot_add_req": Answer(not_hyper_v, not_hyper_v, not_hot_added),
}
"""Operation -> how it is answered."""
