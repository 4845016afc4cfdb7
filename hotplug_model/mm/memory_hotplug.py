"""Adding and removing memory: mm/memory_hotplug.c."""

from __future__ import annotations

import errno
from contextlib import suppress

from hotplug_model.contiguous import set_zone_contiguous
from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import (
    MHP_MEMMAP_ON_MEMORY,
    BlockState,
    MemmapOrigin,
    MemoryClass,
    OnlineType,
    ZoneType,
)
from hotplug_model.kernel import Kernel
from hotplug_model.mm import base_memory
from hotplug_model.mm.arch_memory import (
    arch_add_memory,
    arch_remove_memory,
    refuse_removal,
)
from hotplug_model.mm.memblock import memblock_add_node, memblock_remove
from hotplug_model.mm.zones import remove_pfn_range_from_zone
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.faults import Allocation
from hotplug_model.state.ledger import Cause, Law
from hotplug_model.state.resource import SYSTEM_RAM, Resource

__all__ = ["add_memory", "offline_and_remove_memory", "remove_memory"]


def add_memory(kernel: Kernel, nid: int, pfns: PfnRange, mhp_flags: int) -> Steps:
    """Add *pfns* as System RAM: resource, sections, memory blocks; maybe online them.

    Refuses with -E2BIG beyond what can be addressed (and for nothing), -EEXIST if a
    busy region overlaps or a subsection is populated, -EINVAL if not block aligned, for
    an impossible node, or for memmap_on_memory where it is not supported, and -ENOMEM;
    with -ENOENT where there is no memory hotplug.

    Source: add_memory(), register_memory_resource(), add_memory_resource().
    """
    refuse_any_add(kernel)
    if not kernel.rules.add_memory_takes_device_hotplug_lock:
        yield from __add_memory(kernel, nid, pfns, mhp_flags)
        return
    yield from kernel.locks.take("device_hotplug_lock")
    try:
        yield from __add_memory(kernel, nid, pfns, mhp_flags)
    finally:
        kernel.locks.drop("device_hotplug_lock")


def refuse_any_add(kernel: Kernel) -> None:
    """Refuses with -ENOENT without CONFIG_MEMORY_HOTPLUG, as arm64 was before v5.0.

    # Simplified: there is no function to call then; who wants to add memory finds no
    /sys/devices/system/memory/probe to write to. The blocks of boot are there, but stay online.

    Source: commit 4ab215061554 ("arm64: Add memory hotplug support") (in v5.0).
    """
    if kernel.geometry.arch == "arm64" and kernel.rules.arm64_memory_hotplug == "absent":
        raise KernelRefusal(errno.ENOENT)


def __add_memory(kernel: Kernel, nid: int, pfns: PfnRange, mhp_flags: int) -> Steps:
    """add_memory() with device_hotplug_lock held."""
    register_memory_resource(kernel, pfns)
    try:
        yield from add_memory_resource(kernel, nid, pfns, mhp_flags)
    except KernelRefusal:
        kernel.iomem.release(pfns)
        raise


def register_memory_resource(kernel: Kernel, pfns: PfnRange) -> None:
    """Claim *pfns* as busy System RAM. Refuses with -E2BIG, or -EEXIST: as well if there is no
    memory for a region, which __request_region() does not tell apart (before v5.1: -ENOMEM).

    Source: register_memory_resource(); commit bca3feaa0764 (in v5.12) for the range.
    """
    empty = pfns.nr_pages <= 0
    out_of_range = empty or not kernel.geometry.all_pfns.contains(pfns)
    if out_of_range and kernel.rules.mhp_range_allowed_first:
        raise KernelRefusal(errno.E2BIG)
    claimed = kernel.faults.grant(Allocation.RESOURCE, 1) and not empty
    if not claimed or not kernel.iomem.request(Resource(SYSTEM_RAM, pfns)):
        raise KernelRefusal(errno.EEXIST)


def add_memory_resource(kernel: Kernel, nid: int, pfns: PfnRange, mhp_flags: int) -> Steps:
    """The part of add_memory() that knows its resource."""
    if not pfns.is_aligned(kernel.pages_per_block) or nid not in kernel.nodes:
        raise KernelRefusal(errno.EINVAL)
    yield from kernel.locks.take("mem_hotplug_lock")
    try:
        per_block = supports_memmap_on_memory(kernel, pfns, mhp_flags)
        hotadd_memblock(kernel, nid, pfns)
        yield "mem_hotplug_begin"
        try:
            yield from add_sections_and_blocks(kernel, nid, pfns, per_block)
        except KernelRefusal:
            hotremove_memblock(kernel, pfns)
            raise
    finally:
        kernel.locks.drop("mem_hotplug_lock")
    yield "mem_hotplug_done"
    if kernel.layout.memhp_default_state != OnlineType.MMOP_OFFLINE:
        yield from base_memory.online_new_blocks(kernel, pfns)


def hotadd_memblock(kernel: Kernel, nid: int, pfns: PfnRange) -> None:
    """Where memblock outlives boot it learns of new memory. Refuses with -ENOMEM.

    Source: add_memory_resource(); ARCH_KEEP_MEMBLOCK.
    """
    if kernel.keeps_memblock:
        kernel.faults.allocate(Allocation.MEMBLOCK_REGIONS)
        memblock_add_node(kernel.memblock, kernel.geometry.bytes_of(pfns), nid)


def hotremove_memblock(kernel: Kernel, pfns: PfnRange) -> None:
    """What hotadd_memblock() added is forgotten, with its marks; nobody asks whether that
    fails.

    Source: try_remove_memory() and the error path of add_memory_resource().
    """
    if kernel.keeps_memblock:
        with suppress(KernelRefusal):
            memblock_remove(kernel.memblock, kernel.geometry.bytes_of(pfns))


def add_sections_and_blocks(
    kernel: Kernel, nid: int, pfns: PfnRange, per_block: bool
) -> Steps:
    """Sections and block devices, in one go or a block with its altmap at a time.

    If a block fails, those that came before it are removed again.

    Source: create_altmaps_and_memory_blocks() in v6.8 and later.
    """
    if not per_block:
        yield from add_part(kernel, nid, pfns, None)
        return
    for block_id in kernel.block_ids(pfns):
        part = kernel.block_pfns(block_id)
        try:
            kernel.faults.allocate(Allocation.ALTMAP)
            yield from add_part(kernel, nid, part, block_altmap(kernel, part))
        except KernelRefusal:
            done = PfnRange(pfns.start_pfn, part.start_pfn)
            yield from remove_blocks(kernel, removal_parts(kernel, done))
            raise


def block_altmap(kernel: Kernel, pfns: PfnRange) -> Altmap:
    """The altmap of a memory block that holds its own memmap at its start."""
    return Altmap(
        base_pfn=pfns.start_pfn, free=memmap_pages_per_block(kernel), end_pfn=pfns.end_pfn,
        self_hosted=True,
    )  # fmt: skip


def add_part(kernel: Kernel, nid: int, pfns: PfnRange, altmap: Altmap | None) -> Steps:
    """Sections, then block devices; if these fail the sections go again.

    If the sections fail, those that were added stay: see add_pages().

    Source: add_memory_resource(), create_altmaps_and_memory_blocks(); commit
    f42ce5f087eb ("mm/memory_hotplug: fix error handling in add_memory_resource()")
    (in v6.7) for the altmap.
    """
    yield from arch_add_memory(kernel, pfns, nid, MemoryClass.SYSTEM_RAM, altmap)
    if kernel.rules.sections_bring_blocks:
        base_memory.know_zones(kernel, pfns)
        return
    try:
        yield from base_memory.create_memory_block_devices(kernel, pfns, nid, altmap)
    except KernelRefusal:
        passed = altmap if kernel.rules.rollback_passes_altmap else None
        zone_type = ZoneType(kernel.pfns.at(pfns.start_pfn, "zone"))
        zones = (zone_type,) if kernel.rules.zones_at_add else ()
        for zone in zones:
            yield from remove_pfn_range_from_zone(kernel, pfns, nid, zone)
        yield from arch_remove_memory(kernel, pfns, MemoryClass.SYSTEM_RAM, passed)
        for zone in zones:
            set_zone_contiguous(kernel, nid, zone)
        end_altmap(kernel, pfns, altmap)
        raise


def end_altmap(
    kernel: Kernel, pfns: PfnRange, altmap: Altmap | None, cause: Cause = Cause.NONE
) -> None:
    """The altmap of *pfns* ceases to exist; all that it gave must be back.

    Source: the warnings in memunmap_pages() and remove_memory_block_devices().
    """
    if altmap is not None and altmap.alloc:
        # What it still holds may be shared, and then belongs to the neighbour now.
        shared = held_shared(kernel, pfns, altmap)
        kernel.ledger.breach(
            Law.ALTMAP_IN_USE_AT_TEARDOWN, pfns, cause or (Cause.SHARED if shared else Cause.NONE)
        )


def held_shared(kernel: Kernel, pfns: PfnRange, altmap: Altmap) -> bool:
    """Whether memory of *altmap*, or memmap of *pfns*, was used by more than one add."""
    if kernel.geometry.subsections_share_pages:
        return True
    table = kernel.vmemmap
    own = table.column("origin") >= MemmapOrigin.ALTMAP
    frames = table.start_pfn + table.column("offset")
    inside = own & (frames >= altmap.base_pfn) & (frames < altmap.end_pfn)
    if (inside & (table.column("shared") != 0)).any():
        return True
    breaches = [e for e in kernel.ledger.breaches if e.pfns.overlaps(pfns)]
    strange = [e for e in breaches if e.law == Law.FREED_TO_A_STRANGER]
    return any(e.cause in (Cause.SHARED, Cause.CORRUPTED) for e in strange)


def remove_blocks(kernel: Kernel, parts: list[tuple[PfnRange, Altmap | None]]) -> Steps:
    """remove_memory_blocks_and_altmaps(): of each block the device, then the sections."""
    for part, altmap in parts:
        yield from base_memory.remove_devices(kernel, part)
        yield from arch_remove_memory(kernel, part, MemoryClass.SYSTEM_RAM, altmap)
        end_altmap(kernel, part, altmap)


def supports_memmap_on_memory(kernel: Kernel, pfns: PfnRange, mhp_flags: int) -> bool:
    """Whether the new blocks shall hold their own memmap.

    Refuses with -EINVAL from 5.13 to 6.7 where it is not possible; later kernels fall
    back to an ordinary memmap.

    # Simplified: powerpc offers it since 6.6 with radix page tables only; what is modelled
    is the vmemmap of the others.

    Source: mhp_supports_memmap_on_memory(); commit 6b8f0798b85a (in v6.8); config
    MHP_MEMMAP_ON_MEMORY, mm/Kconfig; arch_supports_memmap_on_memory(),
    arch/powerpc/include/asm/pgtable.h (6.12).
    """
    rules, layout, geometry = kernel.rules, kernel.layout, kernel.geometry
    absent = rules.memmap_on_memory == "absent" or rules.zones_at_add
    if not mhp_flags & MHP_MEMMAP_ON_MEMORY or absent:
        return False
    memmap = memmap_pages_per_block(kernel)
    huge = 1 << (geometry.pmd_shift - geometry.page_shift)
    fits = not memmap % huge and not (kernel.pages_per_block - memmap) % geometry.pageblock_nr_pages
    one_block = rules.memmap_on_memory == "per_block" or pfns.nr_pages == kernel.pages_per_block
    offered = layout.sparsemem_vmemmap and geometry.arch in rules.memmap_on_memory_archs
    supported = layout.memmap_on_memory and offered and fits and one_block
    if not supported and not rules.memmap_on_memory_falls_back:
        raise KernelRefusal(errno.EINVAL)
    return supported


def memmap_pages_per_block(kernel: Kernel) -> int:
    """Pages that the struct pages of a memory block take, exactly."""
    size = kernel.pages_per_block * kernel.geometry.struct_page_bytes
    return -(-size >> kernel.geometry.page_shift)


def remove_memory(kernel: Kernel, pfns: PfnRange) -> Steps:
    """Remove *pfns*, all of whose blocks are offline: blocks, sections, resource.

    Refuses with -EBUSY if a block is not offline or the architecture removes nothing, with
    -EINVAL if blocks with and without a memmap of their own are mixed. Blocks that do not
    exist are no obstacle.

    # Simplified: a range that is not block aligned is a BUG() in the kernel; here it
    refuses with -EINVAL.

    Source: try_remove_memory(); commit 4c4b7f9ba948 (in v5.3) for the order.
    """
    if pfns.nr_pages <= 0 or not pfns.is_aligned(kernel.pages_per_block):
        raise KernelRefusal(errno.EINVAL)
    yield from kernel.locks.take("device_hotplug_lock")
    try:
        yield from try_remove_memory(kernel, pfns)
    finally:
        kernel.locks.drop("device_hotplug_lock")


def try_remove_memory(kernel: Kernel, pfns: PfnRange) -> Steps:
    """remove_memory() with device_hotplug_lock held.

    Source: try_remove_memory(); commit 6b8f0798b85a (in v6.8), since which block devices go
    under mem_hotplug_lock, and each with its sections if they have altmaps.
    """
    blocks = kernel.blocks_in(pfns)
    if any(kernel.blocks[b].state != BlockState.MEM_OFFLINE for b in blocks):
        raise KernelRefusal(errno.EBUSY)
    refuse_removal(kernel)
    parts = removal_parts(kernel, pfns)
    links = base_memory.zone_links(kernel, pfns)
    first = kernel.rules.blocks_removed_first
    locked = kernel.rules.memmap_on_memory == "per_block"
    if first and not locked:
        yield from base_memory.remove_devices(kernel, pfns)
    yield from kernel.locks.take("mem_hotplug_lock")
    try:
        for part, altmap in parts:
            if first and locked:
                yield from base_memory.remove_devices(kernel, part)
            linked = [each for each in links if part.contains(each[0])]
            for each in linked:
                yield from remove_pfn_range_from_zone(kernel, *each)
            remove = arch_remove_memory if first else remove_with_blocks
            yield from remove(kernel, part, MemoryClass.SYSTEM_RAM, altmap)
            for _, nid, zone_type in linked:
                set_zone_contiguous(kernel, nid, zone_type)
            end_altmap(kernel, part, altmap)
        hotremove_memblock(kernel, pfns)
        kernel.iomem.release_adjustable(pfns)
    finally:
        kernel.locks.drop("mem_hotplug_lock")
    yield "remove_memory"


def remove_with_blocks(
    kernel: Kernel, pfns: PfnRange, memory: MemoryClass, altmap: Altmap | None
) -> Steps:
    """arch_remove_memory(), a section at a time; a block goes with its last section.

    Source: __remove_section(), unregister_memory_section() before commit 4c4b7f9ba948
    ("mm/memory_hotplug: remove memory block devices before arch_remove_memory()") (in v5.3).
    """
    for section in kernel.geometry.section_chunks(pfns):
        for block_id in kernel.block_ids(section):
            block = kernel.block_pfns(block_id)
            if section.end_pfn == block.end_pfn:
                base_memory.remove_memory_block_devices(kernel, block)
        yield from arch_remove_memory(kernel, section, memory, altmap)


def removal_parts(kernel: Kernel, pfns: PfnRange) -> list[tuple[PfnRange, Altmap | None]]:
    """What to remove in one go, with the altmap each part was added with.

    Source: memory_blocks_have_altmaps() in v6.8 and later; before, only a single block
    could have one.
    """
    blocks = kernel.blocks_in(pfns) if pfns.nr_pages > 0 else []
    altmaps = {b: kernel.blocks[b].altmap for b in blocks if kernel.blocks[b].altmap}
    if not altmaps:
        return [(pfns, None)]
    nr_blocks = len(kernel.block_ids(pfns))
    one_only = kernel.rules.memmap_on_memory != "per_block"
    if nr_blocks != len(altmaps) or (one_only and nr_blocks > 1):
        raise KernelRefusal(errno.EINVAL)
    return [(kernel.block_pfns(b), altmap) for b, altmap in altmaps.items()]


def offline_and_remove_memory(kernel: Kernel, pfns: PfnRange, unmovable: bool) -> Steps:
    """Offline what is online of *pfns*, then remove it all; on failure online it again.

    Refuses with -EINVAL if not block aligned, else as offlining and removing do.
    *unmovable* is whether the kernel finds an unmovable page when it offlines.

    Source: offline_and_remove_memory(), try_offline_memory_block().
    """
    if pfns.nr_pages <= 0 or not pfns.is_aligned(kernel.pages_per_block):
        raise KernelRefusal(errno.EINVAL)
    yield from kernel.locks.take("device_hotplug_lock")
    undo: list[tuple[int, OnlineType]] = []
    try:
        for block_id in kernel.blocks_in(pfns):
            block = kernel.blocks[block_id]
            if block.state == BlockState.MEM_ONLINE:
                online_type = base_memory.current_online_type(kernel, block_id)
                yield from base_memory.device_offline(kernel, block_id, unmovable)
                undo.append((block_id, online_type))
        yield from try_remove_memory(kernel, pfns)
    except KernelRefusal:
        for block_id, online_type in undo:
            yield from online_again(kernel, block_id, online_type)
        raise
    finally:
        kernel.locks.drop("device_hotplug_lock")


def online_again(kernel: Kernel, block_id: int, online_type: OnlineType) -> Steps:
    """Roll one block back; a failure is only warned about.

    Source: try_reonline_memory_block().
    """
    try:
        kernel.blocks[block_id].online_type = online_type
        yield from base_memory.device_online(kernel, block_id)
    except KernelRefusal:
        kernel.blocks[block_id].left_offline = True
