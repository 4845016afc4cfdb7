"""States that the suite must reach, or the invariants prove nothing."""

from __future__ import annotations

import numpy as np

from hotplug_model.extents import Extents
from hotplug_model.flags import (
    BlockState,
    MappingLevel,
    MemmapOrigin,
    MemoryClass,
    PageFlag,
    SectionFlag,
    ZoneType,
)
from hotplug_model.invariants.invariant import sometimes

DEVICE, ONLINE = ZoneType.ZONE_DEVICE, SectionFlag.IS_ONLINE


@sometimes
def device_memory_shares_an_online_section(x: Extents) -> bool:
    """ZONE_DEVICE pages lie in a section that is online."""
    return bool((x.is_zone_device & x.subsection & x.section_has(ONLINE)).any())


@sometimes
def an_early_section_has_a_hole(x: Extents) -> bool:
    """A valid pfn of an early section has no subsection bit."""
    return bool((x.section_has(SectionFlag.IS_EARLY) & ~x.subsection & x.pfn_valid).any())


@sometimes
def a_tainted_section_has_no_device_memory(x: Extents) -> bool:
    """The taint outlived the device, in an online section."""
    tainted = x.section_has(SectionFlag.TAINT_ZONE_DEVICE | ONLINE)
    return bool(tainted.any() and not (tainted & (x.pgmap_array >= 0)).any())


@sometimes
def a_page_is_poisoned(x: Extents) -> bool:
    """A struct page that can be read is poisoned."""
    return bool(x.poisoned.any())


@sometimes
def a_page_is_stale(x: Extents) -> bool:
    """A struct page that can be read still says what its last owner wrote."""
    return bool(x.stale.any())


@sometimes
def memory_is_added_but_not_online(x: Extents) -> bool:
    """A memory block is offline and its struct pages are not initialised."""
    return bool(((x.block == BlockState.MEM_OFFLINE) & ~x.initialised).any())


@sometimes
def movable_memory_is_online(x: Extents) -> bool:
    """Hotplugged memory is online in ZONE_MOVABLE."""
    return bool((x.is_online_ram & (x.zone == ZoneType.ZONE_MOVABLE)).any())


@sometimes
def kernel_memory_is_hotplugged(x: Extents) -> bool:
    """Hotplugged memory is online in ZONE_NORMAL."""
    hotplugged = x.is_online_ram & ~x.section_has(SectionFlag.IS_EARLY)
    return bool((hotplugged & (x.zone == ZoneType.ZONE_NORMAL)).any())


@sometimes
def a_boot_section_was_readded(x: Extents) -> bool:
    """A section whose usage map dates from boot is present but not early any more."""
    again = x.section_has(SectionFlag.BOOT_USAGE | SectionFlag.MARKED_PRESENT)
    return bool((again & ~x.section_has(SectionFlag.IS_EARLY)).any())


@sometimes
def a_section_holds_two_maps(x: Extents) -> bool:
    """Two maps share one section."""
    size = x.geometry.pages_per_section
    mapped = x.dev_pagemap >= 0
    pairs = np.stack((x.start_pfn[mapped] // size, x.dev_pagemap[mapped]))
    distinct = np.unique(pairs, axis=1)
    return bool(len(np.unique(distinct[0])) < distinct.shape[1])


@sometimes
def the_memmap_lives_in_an_altmap(x: Extents) -> bool:
    """Device memory holds its own struct pages."""
    return bool(((x.memmap == MemmapOrigin.ALTMAP) & (x.zone == DEVICE)).any())


@sometimes
def a_block_holds_its_own_memmap(x: Extents) -> bool:
    """memmap_on_memory pages are online."""
    hosted = x.page_has(PageFlag.PG_vmemmap_self_hosted)
    return bool((hosted & x.section_has(ONLINE)).any())


@sometimes
def a_memmap_is_deduplicated(x: Extents) -> bool:
    """Tail pages of a compound device page share a page of vmemmap."""
    table = x.kernel.vmemmap
    mapped = table.column("level") != MappingLevel.NONE
    return bool((mapped & (table.column("period") > 0)).any())


@sometimes
def base_pages_hold_a_memmap(x: Extents) -> bool:
    """Vmemmap is mapped a base page at a time, with pages from the buddy allocator."""
    table = x.kernel.vmemmap
    by_pte = table.column("level") == MappingLevel.PTE
    return bool((by_pte & (table.column("origin") == MemmapOrigin.BUDDY)).any())


@sometimes
def boot_memmap_was_freed(x: Extents) -> bool:
    """A section that was present at boot has no memmap of boot any more."""
    from_boot = x.section_has(SectionFlag.BOOT_USAGE)
    return bool((from_boot & (x.memmap != MemmapOrigin.BOOT)).any())


@sometimes
def a_page_is_pinned_in_zone_movable(x: Extents) -> bool:
    """Somebody holds a page that offlining would wait for."""
    held = x.is_online_ram & (x.refcount > 0) & (x.page_flags == PageFlag.MANAGED)
    return bool((held & (x.zone == ZoneType.ZONE_MOVABLE)).any())


@sometimes
def a_device_page_is_pinned(x: Extents) -> bool:
    """A user has a reference on a page of a device map."""
    return bool((x.is_zone_device & (x.nr_references > 0)).any())


@sometimes
def a_page_is_ballooned(x: Extents) -> bool:
    """A page of online memory is PageOffline, and the driver that took it holds it."""
    offline = x.page_has(PageFlag.PG_offline)
    return bool((x.is_online_ram & offline & (x.refcount > 0)).any())


@sometimes
def a_broken_page_is_online(x: Extents) -> bool:
    """Online memory holds a page that is marked as broken."""
    return bool((x.is_online_ram & x.page_has(PageFlag.PG_hwpoison)).any())


@sometimes
def a_device_page_is_broken(x: Extents) -> bool:
    """A page of a map that is in use is marked as broken."""
    broken = x.page_has(PageFlag.PG_hwpoison)
    return bool((x.is_zone_device & (x.dev_pagemap >= 0) & broken).any())


@sometimes
def a_block_with_a_broken_page_is_offline(x: Extents) -> bool:
    """A memory block in which a page broke is offline."""
    blocks = x.kernel.blocks.values()
    return any(block.broken and block.state == BlockState.MEM_OFFLINE for block in blocks)


@sometimes
def device_spans_foreign_memory(x: Extents) -> bool:
    """The span of ZONE_DEVICE holds a page of another zone."""
    for node in x.kernel.nodes.values():
        span = node.zones[DEVICE].span
        inside = (x.start_pfn >= span.start_pfn) & (x.end_pfn <= span.end_pfn)
        if (inside & x.is_online_ram).any():
            return True
    return False


@sometimes
def device_memory_crosses_sections(x: Extents) -> bool:
    """One map covers pfns of two sections."""
    size = x.geometry.pages_per_section
    return any(
        pfns.start_pfn // size != (pfns.end_pfn - 1) // size
        for pgmap in x.kernel.pgmaps.values()
        for pfns in pgmap.ranges
    )


@sometimes
def a_notifier_vetoes(x: Extents) -> bool:
    """A memory notifier is set to refuse."""
    return bool(x.kernel.vetoes)


@sometimes
def two_nodes_have_memory(x: Extents) -> bool:
    """Pages of two nodes are online."""
    return len([node for node in x.kernel.nodes.values() if node.node_present_pages]) > 1


@sometimes
def memory_without_a_linear_map_has_struct_pages(x: Extents) -> bool:
    """Device memory that the CPU cannot reach is populated."""
    return bool((x.memory == MemoryClass.UNADDRESSABLE).any())
