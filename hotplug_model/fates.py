"""How failed allocations end, as data: found by exhaustive search, and held by a test.

What is listed here is known to happen on mainline a few operations after boot, on the
tiny geometries; ``stateful_tests/test_faults.py`` finds the same and nothing else.
"""

from __future__ import annotations

from errno import EBUSY, EEXIST, EFAULT, ENOMEM
from typing import NamedTuple

from hotplug_model.geometry import GEOMETRIES, Geometry
from hotplug_model.state.faults import Allocation

OK = 0
EVERYWHERE = (
    "tiny", "tiny_56", "tiny_arm64", "tiny_arm64_64k", "tiny_powerpc", "tiny_s390",
)  # fmt: skip
"""Of the architectures that still add memory each way to map vmemmap."""
GONE = ("tiny_ia64", "tiny_x86_32", "tiny_sh", "tiny_tile")
"""Of those that do so no more; none of them has ZONE_DEVICE."""
IA64, CLASSIC, TILE = GONE[:1], GONE[1:], GONE[3:]
"""CLASSIC has no SPARSEMEM_VMEMMAP, and TILE removes nothing."""
REMOVING, CLASSIC_REMOVING = GONE[:3], CLASSIC[:2]
"""Those without TILE, which has no driver of virtio-mem."""
X86 = EVERYWHERE[:2]
ARM64, ARM64_64K, POWERPC, S390 = EVERYWHERE[2:]
NOT_56 = (X86[0], ARM64, ARM64_64K, POWERPC, S390)
UNMAPS = (ARM64, ARM64_64K, POWERPC, S390)
"""Where an add that failed is unmapped again."""
HAS_TABLES = (*X86, ARM64, ARM64_64K)
"""Where parts of a section are mapped by PTEs; on s390 large frames do for them."""
UNWIND = "add-pages-does-not-unwind"
SHARE = "subsections-share-a-base-page"
KVFREE = "a-memmap-that-failed-is-freed"
STRAY = "an-add-that-failed-stays-mapped"
TORN = "unwinding-unmaps-the-neighbour"
KEEPS = "ia64-keeps-the-memmap"
VETOED = "a-rollback-may-be-vetoed"
SAMPLES = "shrinking-samples-one-pfn-a-subsection"


class Fate(NamedTuple):
    """One way in which a failed allocation ends."""

    operation: str
    allocation: Allocation
    err: int
    """What the operation returns; OK if it does without."""
    defect: str = ""
    """The known defect of mainline that lasts behind it and would not otherwise."""


OF_TODAY: dict[Fate, tuple[str, ...]] = {
    Fate("online_memory_block", Allocation.NOTIFIER, ENOMEM): EVERYWHERE,
    Fate("online_memory_block", Allocation.NOTIFIER, ENOMEM, SAMPLES): NOT_56,
    Fate("offline_memory_block", Allocation.NOTIFIER, ENOMEM): EVERYWHERE,
    Fate("add_memory", Allocation.RESOURCE, EEXIST): EVERYWHERE,
    Fate("add_memory", Allocation.USAGE, ENOMEM): EVERYWHERE,
    Fate("add_memory", Allocation.USAGE, ENOMEM, UNWIND): EVERYWHERE,
    Fate("add_memory", Allocation.VMEMMAP_PAGE, ENOMEM): EVERYWHERE,
    Fate("add_memory", Allocation.VMEMMAP_PAGE, ENOMEM, UNWIND): EVERYWHERE,
    Fate("add_memory", Allocation.VMEMMAP_PAGE, ENOMEM, KVFREE): EVERYWHERE,
    Fate("add_memory", Allocation.VMEMMAP_HUGE, OK): (*X86, ARM64, S390),
    Fate("add_memory", Allocation.VMEMMAP_HUGE, ENOMEM): (POWERPC,),
    Fate("add_memory", Allocation.VMEMMAP_HUGE, ENOMEM, UNWIND): (POWERPC,),
    Fate("add_memory", Allocation.PAGE_TABLE, ENOMEM): (ARM64_64K,),
    Fate("add_memory", Allocation.PAGE_TABLE, ENOMEM, UNWIND): (ARM64_64K,),
    Fate("add_memory", Allocation.ALTMAP, ENOMEM): (X86[0], ARM64, ARM64_64K, S390),
    Fate("add_memory", Allocation.MEMORY_BLOCK, ENOMEM): EVERYWHERE,
    Fate("add_memory", Allocation.NOTIFIER, OK): EVERYWHERE,
    Fate("add_memory", Allocation.MEMBLOCK_REGIONS, ENOMEM): (ARM64, ARM64_64K, POWERPC, S390),
    Fate("add_memory", Allocation.LINEAR_MAP, EFAULT): (POWERPC,),
    Fate("add_memory", Allocation.LINEAR_MAP, ENOMEM): (S390,),
    Fate("add_memory", Allocation.USAGE, ENOMEM, STRAY): X86,
    Fate("add_memory", Allocation.USAGE, ENOMEM, TORN): UNMAPS,
    Fate("add_memory", Allocation.VMEMMAP_PAGE, ENOMEM, STRAY): X86,
    Fate("add_memory", Allocation.VMEMMAP_PAGE, ENOMEM, TORN): UNMAPS,
    Fate("add_memory", Allocation.VMEMMAP_HUGE, ENOMEM, TORN): (POWERPC,),
    Fate("add_memory", Allocation.PAGE_TABLE, ENOMEM, TORN): (ARM64_64K,),
    Fate("offline_and_remove_memory", Allocation.NOTIFIER, ENOMEM): EVERYWHERE,
    Fate("memremap_pages", Allocation.USAGE, ENOMEM): EVERYWHERE,
    Fate("memremap_pages", Allocation.USAGE, ENOMEM, UNWIND): EVERYWHERE,
    Fate("memremap_pages", Allocation.VMEMMAP_PAGE, ENOMEM): EVERYWHERE,
    Fate("memremap_pages", Allocation.VMEMMAP_PAGE, ENOMEM, UNWIND): EVERYWHERE,
    Fate("memremap_pages", Allocation.VMEMMAP_PAGE, ENOMEM, KVFREE): EVERYWHERE,
    Fate("memremap_pages", Allocation.VMEMMAP_PAGE, ENOMEM, SHARE): (ARM64_64K,),
    Fate("memremap_pages", Allocation.VMEMMAP_HUGE, OK): (*X86, ARM64, S390),
    Fate("memremap_pages", Allocation.VMEMMAP_HUGE, ENOMEM): (POWERPC,),
    Fate("memremap_pages", Allocation.VMEMMAP_HUGE, ENOMEM, UNWIND): (POWERPC,),
    Fate("memremap_pages", Allocation.PAGE_TABLE, ENOMEM): HAS_TABLES,
    Fate("memremap_pages", Allocation.PAGE_TABLE, ENOMEM, UNWIND): HAS_TABLES,
    Fate("memremap_pages", Allocation.PGMAP_ARRAY, ENOMEM): EVERYWHERE,
    Fate("memremap_pages", Allocation.PERCPU_REF, ENOMEM): EVERYWHERE,
    Fate("memremap_pages", Allocation.LINEAR_MAP, EFAULT): (POWERPC,),
    Fate("memremap_pages", Allocation.LINEAR_MAP, ENOMEM): (S390,),
    Fate("memremap_pages", Allocation.USAGE, ENOMEM, STRAY): X86,
    Fate("memremap_pages", Allocation.USAGE, ENOMEM, TORN): UNMAPS,
    Fate("memremap_pages", Allocation.VMEMMAP_PAGE, ENOMEM, STRAY): X86,
    Fate("memremap_pages", Allocation.VMEMMAP_PAGE, ENOMEM, TORN): UNMAPS,
    Fate("memremap_pages", Allocation.VMEMMAP_HUGE, ENOMEM, TORN): (POWERPC,),
    Fate("memremap_pages", Allocation.PAGE_TABLE, ENOMEM, STRAY): X86,
    Fate("memremap_pages", Allocation.PAGE_TABLE, ENOMEM, TORN): (ARM64, ARM64_64K),
    Fate("virtio_mem_request", Allocation.RESOURCE, OK): EVERYWHERE,
    Fate("virtio_mem_request", Allocation.USAGE, OK): EVERYWHERE,
    Fate("virtio_mem_request", Allocation.VMEMMAP_PAGE, OK): EVERYWHERE,
    Fate("virtio_mem_request", Allocation.VMEMMAP_PAGE, OK, KVFREE): EVERYWHERE,
    Fate("virtio_mem_request", Allocation.VMEMMAP_HUGE, OK): (*X86, ARM64, POWERPC, S390),
    Fate("virtio_mem_request", Allocation.PAGE_TABLE, OK): (ARM64_64K,),
    Fate("virtio_mem_request", Allocation.MEMORY_BLOCK, OK): EVERYWHERE,
    Fate("virtio_mem_request", Allocation.NOTIFIER, OK): EVERYWHERE,
    Fate("virtio_mem_request", Allocation.MEMBLOCK_REGIONS, OK): (ARM64, ARM64_64K, POWERPC, S390),
    Fate("virtio_mem_request", Allocation.VIRTQUEUE, OK): EVERYWHERE,
    Fate("virtio_mem_request", Allocation.LINEAR_MAP, OK): (POWERPC, S390),
    Fate("virtio_mem_request", Allocation.USAGE, OK, STRAY): X86,
    Fate("virtio_mem_request", Allocation.USAGE, OK, TORN): UNMAPS,
    Fate("virtio_mem_request", Allocation.VMEMMAP_PAGE, OK, STRAY): X86,
    Fate("virtio_mem_request", Allocation.VMEMMAP_PAGE, OK, TORN): (ARM64_64K,),
    Fate("virtio_mem_request", Allocation.PAGE_TABLE, OK, TORN): (ARM64_64K,),
}
OF_THE_GONE: dict[Fate, tuple[str, ...]] = {
    Fate("add_memory", Allocation.MEMORY_BLOCK, ENOMEM): GONE,
    Fate("add_memory", Allocation.MEMORY_BLOCK, ENOMEM, KEEPS): IA64,
    Fate("add_memory", Allocation.NOTIFIER, OK): GONE,
    Fate("add_memory", Allocation.PAGE_TABLE, ENOMEM): IA64,
    Fate("add_memory", Allocation.PAGE_TABLE, ENOMEM, UNWIND): IA64,
    Fate("add_memory", Allocation.RESOURCE, EEXIST): GONE,
    Fate("add_memory", Allocation.USAGE, ENOMEM): GONE,
    Fate("add_memory", Allocation.USAGE, ENOMEM, UNWIND): GONE,
    Fate("add_memory", Allocation.VMEMMAP_PAGE, ENOMEM): GONE,
    Fate("add_memory", Allocation.VMEMMAP_PAGE, ENOMEM, KVFREE): CLASSIC,
    Fate("add_memory", Allocation.VMEMMAP_PAGE, ENOMEM, UNWIND): GONE,
    Fate("add_memory", Allocation.VMEMMAP_PAGE, ENOMEM, KEEPS): IA64,
    Fate("offline_and_remove_memory", Allocation.NOTIFIER, ENOMEM): GONE,
    Fate("offline_and_remove_memory", Allocation.NOTIFIER, EBUSY): TILE,
    Fate("offline_and_remove_memory", Allocation.NOTIFIER, EBUSY, VETOED): TILE,
    Fate("offline_memory_block", Allocation.NOTIFIER, ENOMEM): GONE,
    Fate("online_memory_block", Allocation.NOTIFIER, ENOMEM): GONE,
    Fate("virtio_mem_request", Allocation.MEMORY_BLOCK, OK): REMOVING,
    Fate("virtio_mem_request", Allocation.MEMORY_BLOCK, OK, KEEPS): IA64,
    Fate("virtio_mem_request", Allocation.NOTIFIER, OK): REMOVING,
    Fate("virtio_mem_request", Allocation.PAGE_TABLE, OK): IA64,
    Fate("virtio_mem_request", Allocation.RESOURCE, OK): REMOVING,
    Fate("virtio_mem_request", Allocation.USAGE, OK): REMOVING,
    Fate("virtio_mem_request", Allocation.VIRTQUEUE, OK): REMOVING,
    Fate("virtio_mem_request", Allocation.VMEMMAP_PAGE, OK): REMOVING,
    Fate("virtio_mem_request", Allocation.VMEMMAP_PAGE, OK, KVFREE): CLASSIC_REMOVING,
    Fate("virtio_mem_request", Allocation.VMEMMAP_PAGE, OK, KEEPS): IA64,
}
OF_ALL = {
    fate: OF_TODAY.get(fate, ()) + OF_THE_GONE.get(fate, ()) for fate in OF_TODAY | OF_THE_GONE
}
OF_HYPER_V = {
    Fate("hot_add_req", Allocation.RESOURCE, OK): (*EVERYWHERE, *GONE),
    Fate("hot_add_req", Allocation.USAGE, OK): (*EVERYWHERE, *GONE),
    Fate("hot_add_req", Allocation.USAGE, OK, STRAY): X86,
    Fate("hot_add_req", Allocation.VMEMMAP_PAGE, OK): (ARM64_64K, *GONE),
    Fate("hot_add_req", Allocation.VMEMMAP_PAGE, OK, KVFREE): CLASSIC,
    Fate("hot_add_req", Allocation.VMEMMAP_PAGE, OK, KEEPS): IA64,
    Fate("hot_add_req", Allocation.VMEMMAP_HUGE, OK): (*X86, ARM64, POWERPC, S390),
    Fate("hot_add_req", Allocation.PAGE_TABLE, OK): (ARM64_64K, *IA64),
    Fate("hot_add_req", Allocation.MEMORY_BLOCK, OK): (*EVERYWHERE, *GONE),
    Fate("hot_add_req", Allocation.MEMORY_BLOCK, OK, KEEPS): IA64,
    Fate("hot_add_req", Allocation.MEMBLOCK_REGIONS, OK): UNMAPS,
    Fate("hot_add_req", Allocation.LINEAR_MAP, OK): (POWERPC, S390),
}
"""Hyper-V's memory is added a block at a time, and only the host hears what became of it."""
FATES = OF_ALL | OF_HYPER_V | {
    fate._replace(operation="dax_kmem_probe"): where
    for fate, where in OF_ALL.items()
    if fate.operation == "add_memory" and fate.allocation != Allocation.ALTMAP
} | {Fate("dax_kmem_probe", Allocation.RESOURCE, EBUSY): (*EVERYWHERE, *GONE)}
"""Each with the geometries where it is seen. The driver of a dax device, with one range, fails as
add_memory() does without an altmap, or has no region of its own."""


def sizes(geometry: Geometry) -> tuple[str, bool, bool]:
    """What decides which allocations there are."""
    whole = geometry.struct_page_bytes & (geometry.struct_page_bytes - 1) == 0
    return geometry.arch, geometry.maps_vmemmap_huge, whole


def known_pairs(geometry: str) -> set[tuple[str, str]]:
    """Operations with an allocation of theirs that is known to fail, on such a machine."""
    like = sizes(GEOMETRIES[geometry])
    return {
        (fate.operation, fate.allocation.value)
        for fate, where in FATES.items()
        if any(sizes(GEOMETRIES[name]) == like for name in where)
    }
