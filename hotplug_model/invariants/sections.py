"""Sections, subsection maps, memmaps and memory blocks agree."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import PageFlag, SectionFlag
from hotplug_model.invariants.invariant import always, law
from hotplug_model.page_state import system_ram
from hotplug_model.pfn import PfnRange
from hotplug_model.state.resource import NAMELESS, SYSTEM_RAM

VALID = SectionFlag.MARKED_PRESENT | SectionFlag.HAS_MEM_MAP
KEPT = (
    PageFlag.PG_offline | PageFlag.WITHHELD | PageFlag.PG_vmemmap_self_hosted
    | PageFlag.PG_hwpoison | PageFlag.PG_reserved
)  # fmt: skip
"""Marks of online pages that the buddy allocator is not to have."""


@always()
def valid_pfns_have_a_struct_page(x: Extents) -> ExtentMask:
    """pfn_valid() admits a pfn whose struct page is not mapped.

    Source: pfn_valid(), include/linux/mmzone.h.
    """
    return x.pfn_valid & ~x.mapped


@always(quiescent=True)
def populated_subsections_are_valid(x: Extents) -> ExtentMask:
    """A subsection is populated in a section that is not present and valid.

    Source: sparse_add_section(), mm/sparse.c.
    """
    usable = x.section_has(VALID | SectionFlag.USAGE)
    return x.subsection & ~usable


@always(quiescent=True)
def section_mem_map_leads_to_the_memmap(x: Extents) -> ExtentMask:
    """A section says that it has a memmap, and has none or has it elsewhere; or says nothing.

    The kernel asks for the flags and, with SPARSEMEM_VMEMMAP, finds struct pages without this.
    Who reads a crash dump has nothing else.

    Source: sparse_encode_mem_map(), mm/sparse.c; commit 1f503443e7df ("mm/sparse.c: reset
    section's mem_map when fully deactivated") (in v5.6).
    """
    encodes = x.section_has(SectionFlag.MEMMAP)
    rows: ExtentMask = (encodes != x.has_mem_map) | x.section_has(SectionFlag.ASTRAY)
    return rows


@always()
def tainted_sections_met_a_device(x: Extents) -> ExtentMask:
    """A section is marked as shared with device memory that never was in it.

    Source: section_taint_zone_device(), mm/memory_hotplug.c; SECTION_NID_SHIFT,
    include/linux/mmzone.h.
    """
    return x.is_tainted & ~x.section_has(SectionFlag.MET_DEVICE)


@always()
def online_sections_are_valid(x: Extents) -> ExtentMask:
    """A section is online but not present and valid.

    Source: online_mem_sections(), mm/sparse.c.
    """
    return x.section_has(SectionFlag.IS_ONLINE) & ~x.section_has(VALID)


@always()
def memory_blocks_stand_for_sections(x: Extents) -> ExtentMask:
    """User space sees a memory block of which a section is gone.

    Source: try_remove_memory(), mm/memory_hotplug.c; commit 4c4b7f9ba948
    ("mm/memory_hotplug: remove memory block devices before arch_remove_memory()") (in v5.3).
    """
    rows: ExtentMask = x.has_block & ~x.has_mem_map
    return rows


@always(quiescent=True)
def online_sections_are_online_blocks(x: Extents) -> ExtentMask:
    """SECTION_IS_ONLINE and the state of the memory block disagree.

    Source: memory_block_online(), drivers/base/memory.c; online_pages().
    """
    online = x.in_online_block
    exists = x.has_block
    rows: ExtentMask = (online != x.section_has(SectionFlag.IS_ONLINE)) & (exists | x.subsection)
    return rows


@always(quiescent=True)
def memory_blocks_hold_no_device_memory(x: Extents) -> ExtentMask:
    """An added, not early, section of a memory block holds ZONE_DEVICE pages.

    Source: section_activate(), mm/sparse.c: -EEXIST.
    """
    hotplugged = x.has_block & ~x.section_has(SectionFlag.IS_EARLY)
    rows: ExtentMask = hotplugged & ((x.pgmap_array >= 0) | x.is_zone_device)
    return rows


@always(quiescent=True)
def online_pages_are_initialised(x: Extents) -> ExtentMask:
    """A populated page of an online block is not initialised and belongs to no device.

    Source: memmap_init_range(), mm/page_alloc.c.
    """
    online = x.in_online_block & x.subsection & x.pfn_valid
    rows: ExtentMask = online & ~x.initialised & (x.dev_pagemap < 0)
    return rows


@always()
def pageblocks_have_a_migratetype(x: Extents) -> ExtentMask:
    """A pageblock of device memory has no migratetype, though its pages are initialised.

    Source: memmap_init_zone_device(), mm/mm_init.c; pageblock_migratetype_init_range().
    """
    return x.is_zone_device & x.page_has(PageFlag.UNTYPED)


@law(reads="pfns iomem")
def buddy_pages_are_system_ram(x: Extents) -> list[PfnRange]:
    """The buddy allocator has a page of which no memory is known.

    Source: online_pages(); commit c5e79ef561b0 ("mm/memory_hotplug.c: don't allow to
    online/offline memory blocks with holes") (in v5.5).
    """
    return list(x.where(x.is_managed & ~system_ram(x)))


@law(reads="pfns blocks iomem", quiescent=True)
def memory_blocks_lie_in_system_ram(x: Extents) -> list[PfnRange]:
    """A hotplugged memory block and the System RAM resource disagree.

    Source: register_memory_resource(), release_mem_region_adjustable().
    """
    early = x.where(x.section_has(SectionFlag.IS_EARLY))
    blocks = [x.kernel.block_pfns(block_id) for block_id in sorted(x.kernel.blocks)]
    hotplugged = [b for b in blocks if not any(b.overlaps(pfns) for pfns in early)]
    ram = x.kernel.iomem.merged(SYSTEM_RAM)
    lost = [b for b in hotplugged if x.kernel.iomem.system_ram(b) != b.nr_pages]
    bare = [r for r in ram if not any(b.overlaps(r) for b in blocks)]
    return lost + bare


@law(reads="iomem")
def regions_keep_their_names(x: Extents) -> list[PfnRange]:
    """The name of a region in /proc/iomem was freed: whoever reads that sees what lies there.

    Source: dev_dax_kmem_probe(), drivers/dax/kmem.c; commit 60858c00e5f0 ("device-dax: don't
    leak kernel memory to user space after unloading kmem") (in v5.7).
    """
    return x.kernel.iomem.named(NAMELESS)


@always(quiescent=True)
def online_pages_belong_to_somebody(x: Extents) -> ExtentMask:
    """A page went online, and neither the buddy allocator has it nor does a driver keep it.

    What boot kept is reserved, and stays so; what is broken is nobody's. A driver holds what it
    keeps: else offlining would skip it, and whoever asks for the page would get it.

    Source: generic_online_page(), online_pages_range() in mm/memory_hotplug.c;
    virtio_mem_online_page_cb(), hv_online_page(), xen_online_page().
    """
    let_go = x.page_has(PageFlag.PG_offline) & (x.refcount == 0)
    rows: ExtentMask = x.is_online_ram & ~x.is_managed & (let_go | ~x.page_has(KEPT))
    return rows
