"""The linear map covers the memory that the CPU can reach, and nothing else."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import LinearMap, MemoryClass, ZoneType
from hotplug_model.invariants.invariant import always, broken, law
from hotplug_model.pfn import PfnRange
from hotplug_model.state.ledger import Law

NOTHING, UNADDRESSABLE = int(MemoryClass.NONE), int(MemoryClass.UNADDRESSABLE)
HIGHMEM, NORMAL = int(LinearMap.HIGHMEM), int(ZoneType.ZONE_NORMAL)


@always()
def addressable_memory_is_mapped(x: Extents) -> ExtentMask:
    """System RAM, or device memory that the CPU can reach, is not in the linear map.

    Source: arch_add_memory() of each architecture; page_address() knows no other way.
    """
    reachable = (x.memory != NOTHING) & (x.memory != UNADDRESSABLE)
    rows: ExtentMask = reachable & ~x.kernel_page_present
    return rows


@always()
def kernel_zones_are_in_the_linear_map(x: Extents) -> ExtentMask:
    """An online page of a zone that the kernel allocates from has to be mapped by kmap().

    Who allocates from ZONE_HIGHMEM or ZONE_MOVABLE says that it will do so.

    Source: page_address(), lowmem_page_address() in include/linux/mm.h; PageHighMem().
    """
    high: ExtentMask = x.linear_map == HIGHMEM
    if high.any():
        high &= x.is_online_ram & (x.zone <= NORMAL)
    return high


@always()
def unaddressable_memory_is_not_mapped(x: Extents) -> ExtentMask:
    """Device memory that the CPU cannot reach is in the linear map.

    Source: pagemap_range(), mm/memremap.c: add_pages() for MEMORY_DEVICE_PRIVATE.
    """
    rows: ExtentMask = (x.memory == UNADDRESSABLE) & x.kernel_page_present
    return rows


@always(quiescent=True)
def the_linear_map_ends_with_its_memory(x: Extents) -> ExtentMask:
    """The linear map covers what is not there any more, or never came.

    Source: arch_remove_memory() of each architecture; the failure path of
    arch_add_memory() in arch/arm64/mm/mmu.c, arch/powerpc/mm/mem.c, arch/s390/mm/init.c.
    """
    rows: ExtentMask = (x.memory == NOTHING) & x.kernel_page_present
    return rows


@law(Law.REMOVED_AS_ANOTHER_CLASS, reads="ledger")
def memory_is_removed_as_what_it_was_added(x: Extents) -> list[PfnRange]:
    """Memory was removed as addressable, or movable, and added as not, or the other way.

    Source: pagemap_range(), pageunmap_range(), mm/memremap.c.
    """
    return broken(x, Law.REMOVED_AS_ANOTHER_CLASS)
