"""Zones while memory that is added belongs to one at once: mm/memory_hotplug.c before v4.13."""

from __future__ import annotations

import errno

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import ZONES_IN_ORDER, MemoryClass, OnlineType, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.mm.zones import move_pfn_range_to_zone, set_span
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps

ZONE_DEFAULT = {
    "x86": ZoneType.ZONE_NORMAL,
    "x86_32": ZoneType.ZONE_HIGHMEM,
    "powerpc": ZoneType.ZONE_DMA,
    "ia64": ZoneType.ZONE_NORMAL,
    "sh": ZoneType.ZONE_NORMAL,
    "arm64": ZoneType.ZONE_NORMAL,
}
"""What arch_add_memory() passes to zone_for_memory(). powerpc passes the first zone that
there is. # Simplified: arm64 adds no memory before v5.0, and then as if it had done so.

Source: arch_add_memory() of each architecture (4.9).
"""


def arch_zone(kernel: Kernel, pfns: PfnRange, nid: int, memory: MemoryClass) -> ZoneType:
    """The zone of what is added: an architecture's own way, or zone_for_memory().

    s390 gives to the zone that spans the memory and the rest to ZONE_MOVABLE; tile uses its
    last zone, which is ZONE_MOVABLE, though high memory was meant.

    Source: arch_add_memory() in arch/s390/mm/init.c, arch/tile/mm/init.c (4.9).
    """
    arch = kernel.geometry.arch
    if memory == MemoryClass.SYSTEM_RAM and arch in ("s390", "tile"):
        first = PfnRange(pfns.start_pfn, pfns.start_pfn + 1)
        known = ZONES_IN_ORDER[:3] if arch == "s390" else ()
        spans = [zone for zone in known if kernel.zone(nid, zone).intersects(first)]
        return spans[0] if spans else ZoneType.ZONE_MOVABLE
    return zone_for_memory(kernel, pfns, nid, ZONE_DEFAULT.get(arch, ZoneType.ZONE_NORMAL), memory)


def zone_for_memory(
    kernel: Kernel, pfns: PfnRange, nid: int, zone_default: ZoneType, memory: MemoryClass
) -> ZoneType:
    """ZONE_DEVICE for a device, ZONE_MOVABLE behind movable memory, else *zone_default*.

    Source: zone_for_memory(), should_add_memory_movable() (4.9).
    """
    if memory != MemoryClass.SYSTEM_RAM:
        return ZoneType.ZONE_DEVICE
    movable = kernel.zone(nid, ZoneType.ZONE_MOVABLE)
    behind = movable.spanned_pages and movable.zone_start_pfn <= pfns.start_pfn
    return ZoneType.ZONE_MOVABLE if behind else zone_default


def zone_can_shift(kernel: Kernel, block_id: int, online_type: OnlineType) -> ZoneType:
    """The zone that a block goes online in: its own, or one that it may be moved to.

    Refuses with -EINVAL unless the block is at the end of its zone that faces the other
    one, and no zone between them is in use.

    Source: online_pages(), zone_can_shift() (4.9).
    """
    block, pfns = kernel.blocks[block_id], kernel.block_pfns(block_id)
    wanted = {
        OnlineType.MMOP_ONLINE_KERNEL: ZoneType.ZONE_NORMAL,
        OnlineType.MMOP_ONLINE_MOVABLE: ZoneType.ZONE_MOVABLE,
    }
    zone_type = ZoneType(kernel.pfns.at(pfns.start_pfn, "zone"))
    target = wanted.get(online_type, zone_type)
    here, there = ZONES_IN_ORDER.index(zone_type), ZONES_IN_ORDER.index(target)
    span = kernel.zone(block.nid, zone_type).span
    between = ZONES_IN_ORDER[min(here, there) + 1 : max(here, there)]
    in_the_way = any(kernel.zone(block.nid, each).spanned_pages for each in between)
    at_the_edge = (
        pfns.end_pfn == span.end_pfn if here < there else pfns.start_pfn == span.start_pfn
    )
    if here != there and (in_the_way or not at_the_edge):
        raise KernelRefusal(errno.EINVAL)
    return target


def move_pfn_range(kernel: Kernel, block_id: int, target: ZoneType) -> Steps:
    """Cut a block off its zone and give it to *target*; its struct pages are set up anew.

    # Simplified: the kernel left zone->contiguous of both as it was, right or wrong.

    Source: move_pfn_range_left(), move_pfn_range_right() (4.9).
    """
    block, pfns = kernel.blocks[block_id], kernel.block_pfns(block_id)
    zone = kernel.zone(block.nid, ZoneType(kernel.pfns.at(pfns.start_pfn, "zone")))
    span = zone.span
    at_the_end = pfns.end_pfn == span.end_pfn
    rest = (span.start_pfn, pfns.start_pfn) if at_the_end else (pfns.end_pfn, span.end_pfn)
    set_span(zone, PfnRange(*rest))
    block.zone = target
    yield from move_pfn_range_to_zone(kernel, pfns, block.nid, target, None)
