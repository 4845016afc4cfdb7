"""Known defects of mapping what is added and unmapping what is not."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.defects.defect import known_defect
from hotplug_model.extents import Extents
from hotplug_model.flags import LinearMap, MemoryClass
from hotplug_model.state.ledger import Cause

UNMAPS = ("arm64", "powerpc", "s390")
"""Architectures that unmap what they failed to add."""
HIDDEN = int(MemoryClass.UNADDRESSABLE)


@known_defect(
    "the_linear_map_ends_with_its_memory",
    "unaddressable_memory_is_not_mapped",
    "memory_is_removed_as_what_it_was_added",
    quiescent=True,
    causes=(Cause.UNWOUND,),
    where=lambda x: x.geometry.arch == "x86",
)
def an_add_that_failed_stays_mapped(x: Extents) -> ExtentMask:
    """On x86 what was mapped for an add that then fails stays in the linear map.

    arch_add_memory() calls init_memory_mapping() before add_pages(), and does not look at
    what the latter returns. If the request lay around device-private memory of somebody
    else, which nobody may map, that stays mapped as well.

    Source: arch_add_memory(), init_memory_mapping() in arch/x86/mm/init_64.c, init.c (6.1).
    """
    rows: ExtentMask = (x.linear_map == LinearMap.STRAY) & (x.geometry.arch == "x86")
    return rows


@known_defect("unaddressable_memory_is_not_mapped")
def an_add_maps_private_memory_meanwhile(x: Extents) -> ExtentMask:
    """While an add is on its way that will fail, device-private memory within is mapped.

    arch_add_memory() maps all of its range before __add_pages() finds that some of it is
    somebody's. Who unmaps what failed then unmaps that, too.

    Source: arch_add_memory() in arch/arm64/mm/mmu.c, arch/powerpc/mm/mem.c (6.1).
    """
    rows: ExtentMask = (x.linear_map == LinearMap.STRAY) & (x.memory == HIDDEN)
    return rows


@known_defect(
    "addressable_memory_is_mapped",
    "memory_is_read_through_the_linear_map",
    "memory_is_removed_as_what_it_was_added",
    quiescent=True,
    causes=(Cause.UNWOUND,),
    where=lambda x: x.geometry.arch in UNMAPS,
)
def unwinding_unmaps_the_neighbour(x: Extents) -> ExtentMask:
    """An add that fails over memory that somebody else added unmaps that, too.

    On arm64, powerpc and s390 arch_add_memory() unmaps all of its range if __add_pages()
    fails. But that fails with -EEXIST just because some of the range is somebody's, whose
    linear mapping goes as well: a map strictly inside of the requested range, which
    pagemap_range() does not notice, device memory that add_memory() runs into, sections
    that an earlier failure left behind.

    Source: arch_add_memory() in arch/arm64/mm/mmu.c, arch/powerpc/mm/mem.c and
    arch/s390/mm/init.c; section_activate() in mm/sparse.c (6.1).
    """
    rows: ExtentMask = x.linear_map == LinearMap.TORN
    return rows


@known_defect("kernel_zones_are_in_the_linear_map", quiescent=True)
def high_memory_goes_online_below_its_zone(x: Extents) -> ExtentMask:
    """Where there is high memory, what is added goes online in ZONE_NORMAL all the same.

    Until v4.12 x86-32 added memory to ZONE_HIGHMEM. Since commit f1dd2cd13c4b ("mm,
    memory_hotplug: do not associate hotadded memory to zones until online") (in v4.13) it
    gets its zone when it goes online, from default_kernel_zone_for_pfn(), which knows
    ZONE_NORMAL and what is below. Nobody mended that: commit b59d02ed0869
    ("mm/memory_hotplug: disable the functionality for 32b") marked it broken.

    Source: zone_for_pfn_range(), default_kernel_zone_for_pfn() in mm/memory_hotplug.c.
    """
    rows: ExtentMask = x.linear_map == LinearMap.HIGHMEM
    return rows
