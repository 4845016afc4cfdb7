"""What an architecture adds to __add_pages(): the linear map.

arch_add_memory() maps memory, then makes it valid; arch_remove_memory() goes the other
way. Memory that the CPU cannot reach gets struct pages and no mapping.

What arch_add_memory() is told besides the range, by release, and what follows from it here:

- ``for_device``, to 4.12: the zone, which it then chose: ``zones_at_add``.
- ``want_memblock``, 4.13: whether sections bring memory blocks: ``sections_bring_blocks``.
- ``mhp_restrictions``, 5.2: the same and the altmap in one structure; nothing. From 5.3 on
  add_memory() registers the blocks, and nobody asks for them here.
- ``mhp_params``, 5.7: the same renamed, and how to map: see ``maps_uncached``. Who refuses to
  (s390) had no memory before that was to be mapped in another way than RAM.

Source: arch/x86/mm/init_64.c, arch/arm64/mm/mmu.c, arch/powerpc/mm/mem.c,
arch/s390/mm/init.c (6.1); see ARCH_MEMORY for those that are gone.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace

import numpy as np

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import LinearMap, MemoryClass, MemoryType
from hotplug_model.kernel import Kernel
from hotplug_model.mm.add_pages import add_pages, remove_pages
from hotplug_model.mm.zone_for_memory import arch_zone
from hotplug_model.mm.zones import move_pfn_range_to_zone
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.dev_pagemap import DevPagemap
from hotplug_model.state.faults import Allocation
from hotplug_model.state.ledger import Cause, Law


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchMemory:
    """Where arch_add_memory() and arch_remove_memory() of architectures differ."""

    mapping_errno: int | None = None
    """What a mapping that fails is refused with; None where nobody is told."""
    unmaps_what_failed: bool = False
    """Whether what was mapped is unmapped if __add_pages() fails."""
    reached_by: LinearMap = LinearMap.MAPPED
    """How the CPU reaches memory that was added."""
    by_page_tables: bool = True
    """Whether it takes page tables to map it; else nothing can fail and nothing is undone."""
    maps_uncached: bool = True
    """Whether it maps memory as it is told; else it refuses what is not to be mapped as RAM."""
    zone_device: bool = True
    """CONFIG_ZONE_DEVICE, which an architecture must ask for."""
    removal_errno: int | None = None
    """What arch_remove_memory() refuses with; None if it removes."""


ARCH_MEMORY = {
    "x86": ArchMemory(),
    "x86_32": ArchMemory(
        reached_by=LinearMap.HIGHMEM, by_page_tables=False, zone_device=False
    ),
    "arm64": ArchMemory(unmaps_what_failed=True),
    "powerpc": ArchMemory(mapping_errno=errno.EFAULT, unmaps_what_failed=True),
    "s390": ArchMemory(
        mapping_errno=errno.ENOMEM, unmaps_what_failed=True, maps_uncached=False
    ),
    "ia64": ArchMemory(by_page_tables=False, zone_device=False),
    "sh": ArchMemory(by_page_tables=False, zone_device=False),
    "tile": ArchMemory(
        reached_by=LinearMap.HIGHMEM, by_page_tables=False, zone_device=False,
        removal_errno=errno.EBUSY,
    ),
}  # fmt: skip
"""By ``Geometry.arch``, each as it was last: tile until v4.16, hotplug on x86-32 until v5.15,
ia64 until v6.6. x86-64 and arm64 die if they run out of memory for page tables. ia64 and sh
reach all physical addresses without; on x86-32 and tile what is added is high memory.
CONFIG_ZONE_DEVICE took X86_64 before v4.13, then ARCH_HAS_ZONE_DEVICE, and ARCH_HAS_PTE_DEVMAP
from v5.3 to v6.16; and always CONFIG_MEMORY_HOTREMOVE, which arm64 has since v5.7. Commit
d438d2734170 ("mm: remove devmap related functions and page table bits") (in v6.17) left no more
to select, and s390 has the rest.

Source: arch/x86/mm/init_32.c, arch/ia64/mm/init.c, arch/sh/mm/init.c, arch/tile/mm/init.c
(4.9); commit 65f7d0497887 ("mm, x86: Add ARCH_HAS_ZONE_DEVICE to Kconfig") (in v4.13);
mm/Kconfig, arch/s390/Kconfig (4.14, 6.1, 6.4, 6.15) for CONFIG_ZONE_DEVICE.
"""


def arch_memory(kernel: Kernel) -> ArchMemory:
    """The architecture's, as the rules have it.

    Source: remove_memory() in include/linux/memory_hotplug.h without CONFIG_MEMORY_HOTREMOVE,
    which CONFIG_ZONE_DEVICE depends on in mm/Kconfig.
    """
    arch, rules = ARCH_MEMORY[kernel.geometry.arch], kernel.rules
    if kernel.geometry.arch == "s390":
        refused = None if rules.s390_removes_memory else errno.EBUSY
        return replace(arch, removal_errno=refused, zone_device=rules.s390_has_zone_device)
    if kernel.geometry.arch == "powerpc" and not rules.powerpc_has_zone_device:
        return replace(arch, zone_device=False)
    if not kernel.memory_hotremove:
        return replace(arch, zone_device=False, removal_errno=errno.EBUSY)
    return arch


def arch_add_memory(
    kernel: Kernel,
    pfns: PfnRange,
    nid: int,
    memory: MemoryClass,
    altmap: Altmap | None,
    pgmap: DevPagemap | None = None,
) -> Steps:
    """Map *pfns*, unless told that the CPU cannot reach them, and make them valid.

    Refuses with -EINVAL what it shall not map, or not as RAM, where it cannot do so, with what the
    architecture makes of a mapping that fails (-EFAULT on powerpc, -ENOMEM on s390), and
    as add_pages(). Then arm64, powerpc and s390 unmap all of
    *pfns*, whoever may live there; x86-64 and powerpc before v5.11 unmap nothing.

    Source: arch_add_memory(); pagemap_range() in mm/memremap.c, which calls add_pages()
    itself for device-private memory.
    """
    told = kernel.rules.memory_added_as(memory)
    if told == MemoryClass.UNADDRESSABLE:
        if not kernel.rules.takes_unaddressable_memory:
            raise KernelRefusal(errno.EINVAL)
        yield from add_pages(kernel, pfns, nid, altmap, pgmap)
        yield from link_to_zone(kernel, pfns, nid, memory, altmap)
        return
    arch = arch_memory(kernel)
    p2pdma = pgmap is not None and pgmap.type == MemoryType.MEMORY_DEVICE_PCI_P2PDMA
    if p2pdma and not arch.maps_uncached:
        raise KernelRefusal(errno.EINVAL)
    if arch.mapping_errno is not None and not kernel.faults.grant(Allocation.LINEAR_MAP, 1):
        raise KernelRefusal(arch.mapping_errno)
    create_linear_mapping(kernel, pfns)
    yield "arch_create_linear_mapping"
    try:
        yield from add_pages(kernel, pfns, nid, altmap, pgmap)
    except KernelRefusal:
        leave_or_unmap(kernel, pfns)
        raise
    yield from link_to_zone(kernel, pfns, nid, memory, altmap)


def link_to_zone(
    kernel: Kernel, pfns: PfnRange, nid: int, memory: MemoryClass, altmap: Altmap | None
) -> Steps:
    """Before v4.13 what was added was at once a zone's, though nobody could use it yet.

    # Simplified: at the end, not a section at a time.

    Source: commit f1dd2cd13c4b ("mm, memory_hotplug: do not associate hotadded memory to
    zones until online") (in v4.13); __add_zone() before it.
    """
    if kernel.rules.zones_at_add:
        zone_type = arch_zone(kernel, pfns, nid, memory)
        yield from move_pfn_range_to_zone(kernel, pfns, nid, zone_type, altmap)


def arch_remove_memory(
    kernel: Kernel, pfns: PfnRange, memory: MemoryClass, altmap: Altmap | None
) -> Steps:
    """Take *pfns* out of their sections; then unmap them, unless told that nobody has.

    Source: arch_remove_memory(); pageunmap_range() in mm/memremap.c, which calls
    __remove_pages() itself for device-private memory.
    """
    told = kernel.rules.memory_removed_as(memory)
    note_another_class(kernel, pfns, told)
    yield from remove_pages(kernel, pfns, altmap)
    if told != MemoryClass.UNADDRESSABLE and unmaps(kernel):
        kernel.pfns.write(pfns, linear_map=LinearMap.NONE)
        yield "arch_remove_linear_mapping"


def refuse_removal(kernel: Kernel) -> None:
    """Refuses with -EBUSY where nothing is ever removed: arch_remove_memory() says so, or the
    kernel has no memory hot-remove.

    # Simplified: remove_memory() asks nobody and ignored that, but whatever it undid
    first lay in __remove_pages(), which such an architecture does not call. So all stays.

    Source: arch_remove_memory() in arch/tile/mm/init.c, arch/s390/mm/init.c (4.9).
    """
    refused = arch_memory(kernel).removal_errno
    if refused is not None:
        raise KernelRefusal(refused)


def as_it_is(memory: MemoryClass) -> MemoryClass:
    """Mainline's callers tell the truth: System RAM, or what the map's type says."""
    return memory


def unmaps(kernel: Kernel) -> bool:
    """Whether the architecture knows how to unmap; arm64 learned it with hot remove."""
    return kernel.geometry.arch != "arm64" or kernel.rules.arm64_unmaps_linear_map


def unmaps_what_failed(kernel: Kernel) -> bool:
    """Whether it unmaps if __add_pages() fails; powerpc did not from the start.

    Source: commit ca2c36cae9d4 ("powerpc/mm: remove linear mapping if __add_pages() fails in
    arch_add_memory()") (in v5.11).
    """
    if kernel.geometry.arch == "powerpc":
        return kernel.rules.powerpc_unmaps_what_failed
    return arch_memory(kernel).unmaps_what_failed and unmaps(kernel)


def create_linear_mapping(kernel: Kernel, pfns: PfnRange) -> None:
    """Map *pfns*. What is mapped already stays; unaddressable memory gets mapped as well.

    Source: kernel_physical_mapping_init() in arch/x86/mm/init_64.c; whoever added the
    unaddressable memory makes add_pages() fail, but only later.
    """
    runs = kernel.pfns.cut(pfns)
    hidden = kernel.pfns.column("memory")[runs] == MemoryClass.UNADDRESSABLE
    state = np.where(hidden, LinearMap.STRAY, arch_memory(kernel).reached_by)
    kernel.pfns.assign(pfns, "linear_map", state)


def leave_or_unmap(kernel: Kernel, pfns: PfnRange) -> None:
    """What becomes of the mapping of *pfns* whose add failed."""
    runs = kernel.pfns.cut(pfns)
    memory = kernel.pfns.column("memory")[runs]
    lives_there = (memory != MemoryClass.NONE) & (memory != MemoryClass.UNADDRESSABLE)
    arch = arch_memory(kernel)
    if not arch.by_page_tables:
        state = np.where(lives_there, arch.reached_by, LinearMap.NONE)
    elif unmaps_what_failed(kernel):
        state = np.where(lives_there, LinearMap.TORN, LinearMap.NONE)
    else:
        state = np.where(lives_there, LinearMap.MAPPED, LinearMap.STRAY)
    kernel.pfns.assign(pfns, "linear_map", state)


def note_another_class(kernel: Kernel, pfns: PfnRange, memory: MemoryClass) -> None:
    """Write down which of *pfns* had not been added as the *memory* that is removed.

    RAM is no device; what is unaddressable alone is not in the linear map; and what can be
    moved was to be so when it was added.
    """
    table = kernel.pfns
    runs = table.cut(pfns)
    state = table.column("linear_map")[runs]
    mapped = (state != LinearMap.NONE) & (state != LinearMap.TORN)
    other = mapped if memory == MemoryClass.UNADDRESSABLE else ~mapped
    was = table.column("memory")[runs]
    other |= (was == MemoryClass.SYSTEM_RAM) != (memory == MemoryClass.SYSTEM_RAM)
    moved = kernel.rules.memory_added_as(MemoryClass.MOVABLE) == MemoryClass.MOVABLE
    other |= ((was == MemoryClass.MOVABLE) & moved) != (memory == MemoryClass.MOVABLE)
    wrong = other & (was != MemoryClass.NONE)
    starts, ends = table.start_pfn[runs][wrong], table.end_pfn[runs][wrong]
    for start, end, how in zip(starts.tolist(), ends.tolist(), state[wrong].tolist(), strict=True):
        unwound = how in (LinearMap.STRAY, LinearMap.TORN)
        cause = Cause.UNWOUND if unwound else Cause.NONE
        kernel.ledger.breach(Law.REMOVED_AS_ANOTHER_CLASS, PfnRange(start, end), cause)
