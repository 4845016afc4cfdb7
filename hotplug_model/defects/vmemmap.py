"""Known defects of the memory behind the memmap."""

from __future__ import annotations

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.defects.defect import blamed_on, known_defect
from hotplug_model.extents import Extents
from hotplug_model.flags import MemmapOrigin, MemoryType, RefState
from hotplug_model.pfn import PfnRange
from hotplug_model.state.ledger import Cause, Law


@known_defect(
    "memmap_goes_back_to_its_owner",
    "altmaps_account_for_what_they_gave",
    quiescent=True,
    causes=(Cause.PRIVATE,),
)
def private_memory_forgets_its_altmap(x: Extents) -> ExtentMask:
    """Device-private memory is added with its altmap and removed without it.

    memremap_pages() hands the altmap to add_pages(); pageunmap_range() calls
    __remove_pages() with NULL for device-private memory, so that what the altmap gave
    goes to the buddy allocator. No driver in the tree maps private memory with an altmap.

    Source: pagemap_range(), pageunmap_range() in mm/memremap.c.
    """
    rows = blamed_on(x, Cause.PRIVATE)
    for pgmap in x.kernel.pgmaps.values():
        dying = pgmap.ref == RefState.KILLED and pgmap.altmap is not None
        if dying and pgmap.type == MemoryType.MEMORY_DEVICE_PRIVATE:
            first = pgmap.ranges[0]
            rows |= (x.start_pfn >= first.start_pfn) & (x.end_pfn <= first.end_pfn)
    return rows


@known_defect(
    "memmap_goes_back_to_its_owner",
    "altmaps_back_their_own_device",
    "altmaps_account_for_what_they_gave",
    quiescent=True,
    causes=(Cause.SHARED,),
    where=lambda x: x.geometry.arch in ("x86", "s390"),
)
def shared_page_goes_to_the_last_altmap(x: Extents) -> ExtentMask:
    """A huge page of vmemmap that several adds share is freed by the altmap of the last.

    vmemmap_populate() finds the mapping there and takes nothing from its own altmap, but
    vmemmap_free() gives the page to the altmap of whoever is removed last, or to the
    buddy allocator if that one has none. On x86 a section's memmap fills its huge page
    unless struct pages have 56 bytes; on s390 devices of a few MiB share a frame.

    Source: vmemmap_populate_hugepages(), remove_pmd_table() in arch/x86/mm/init_64.c;
    modify_pmd_table() in arch/s390/mm/vmem.c.
    """
    if x.geometry.arch not in ("x86", "s390"):
        return np.zeros(len(x.start_pfn), bool)
    rows = blamed_on(x, Cause.SHARED)
    return rows | devices_with_an_altmap(x, rows | lent_to_a_neighbour(x))


@known_defect(
    "struct_pages_are_no_page_table",
    "vmemmap_outlives_its_pfns",
    "valid_pfns_have_a_struct_page",
    "populated_device_pages_are_initialised",
    "walkers_read_mapped_pages",
    "markers_claim_no_page_in_use",
    "refusals_leave_the_machine_alone",
    "memmap_goes_back_to_its_owner",
    "altmaps_account_for_what_they_gave",
    quiescent=True,
    causes=(Cause.CORRUPTED,),
)
def base_pages_below_a_huge_page(x: Extents) -> ExtentMask:
    """A part of a section whose memmap a neighbour's huge page covers is mapped below it.

    For a part of a section x86 maps base pages. vmemmap_pmd_populate() asks only whether
    the PMD is empty; if it maps a huge page, vmemmap_pte_populate() takes the struct pages
    in it for PTEs. It needs struct pages whose sum per section is no multiple of 2 MiB.

    Source: vmemmap_pmd_populate(), vmemmap_pte_populate() in mm/sparse-vmemmap.c;
    vmemmap_populate() in arch/x86/mm/init_64.c (6.1).
    """
    rows = blamed_on(x, Cause.CORRUPTED)
    return rows | devices_with_an_altmap(x, rows)


def frees_shared_base_pages(x: Extents) -> bool:
    """Whether a base page describes several subsections and goes with the first of them.

    A kernel that keeps account of what a page is used for has no such excuse.
    """
    keeps_account = x.kernel.rules.unused_vmemmap is not None
    arm64 = x.geometry.arch == "arm64"
    return arm64 and x.geometry.subsections_share_pages and not keeps_account


@known_defect(
    "valid_pfns_have_a_struct_page",
    "walkers_read_mapped_pages",
    "vmemmap_outlives_its_pfns",
    "unused_vmemmap_is_freed",
    "populated_device_pages_are_initialised",
    "refusals_leave_the_machine_alone",
    "memmap_goes_back_to_its_owner",
    "altmaps_back_their_own_device",
    "altmaps_account_for_what_they_gave",
    quiescent=True,
    causes=(Cause.SHARED,),
    where=frees_shared_base_pages,
)
def subsections_share_a_base_page(x: Extents) -> ExtentMask:
    """With 64K pages subsections share a page of vmemmap, and the first to go takes it.

    One page describes 32 subsections. arm64 frees every PTE that a removed range touches,
    whether or not other subsections live in the same page; and both populating and
    freeing step a page at a time from an unaligned start, so that the last page of a
    range is missed.

    Source: unmap_hotplug_pte_range(), vmemmap_populate() in arch/arm64/mm/mmu.c;
    vmemmap_populate_range() in mm/sparse-vmemmap.c; check_pfn_span().
    """
    if not frees_shared_base_pages(x):
        return np.zeros(len(x.start_pfn), bool)
    size, each = x.geometry.page_bytes, x.geometry.struct_page_bytes
    ends_in_a_page = (x.start_pfn * each % size != 0) | (x.end_pfn * each % size != 0)
    lost = x.subsection & ~x.mapped & ends_in_a_page
    freed = blamed_on(x, Law.FREED_IN_USE) & ends_in_a_page
    rows: ExtentMask = ~x.is_early & (lost | freed | in_shared_page(x))
    return rows | blamed_on(x, Cause.SHARED) | devices_with_an_altmap(x, rows)


@known_defect("unused_vmemmap_is_freed", quiescent=True)
def ia64_keeps_the_memmap(x: Extents) -> ExtentMask:
    """On ia64 the memmap of what is removed is never freed.

    vmemmap_free() has no body. Who adds the same section again finds its memmap there.

    Source: vmemmap_free() in arch/ia64/mm/discontig.c (6.1).
    """
    rows: ExtentMask = ~x.subsection & (x.geometry.arch == "ia64")
    return rows


@known_defect("memmap_goes_back_to_its_owner", quiescent=True, causes=(Cause.UNPOPULATED,))
def a_memmap_that_failed_is_freed(x: Extents) -> ExtentMask:
    """Without SPARSEMEM_VMEMMAP a memmap that could not be allocated is given to kvfree().

    section_activate() calls section_deactivate() if there is no memmap, and that asks the
    section for it by pfn_to_page(). A section that was never initialised answers with an
    address that nobody has allocated.

    Source: section_activate(), section_deactivate(), depopulate_section_memmap() without
    CONFIG_SPARSEMEM_VMEMMAP in mm/sparse.c (6.1).
    """
    return blamed_on(x, Cause.UNPOPULATED)


def in_shared_page(x: Extents) -> ExtentMask:
    """Rows described by a page of vmemmap that more than one add uses, or has used."""
    size, each = x.geometry.page_bytes, x.geometry.struct_page_bytes
    first, last = x.start_pfn * each // size, (x.end_pfn * each - 1) // size
    meet = (last[:-1] == first[1:]) & x.subsection[:-1] & x.subsection[1:]
    meet &= x.pgmap_array[:-1] != x.pgmap_array[1:]
    rows: ExtentMask = np.append(meet, False) | np.append(False, meet)
    table = x.kernel.vmemmap
    shared = table.column("shared") != 0
    for start, end in zip(
        table.start_pfn[shared].tolist(), table.end_pfn[shared].tolist(), strict=True
    ):
        rows |= x.touched([x.geometry.described_by(PfnRange(start, end))])
    return rows


def devices_with_an_altmap(x: Extents, concerned: ExtentMask) -> ExtentMask:
    """All rows of the devices whose memmap lies in their own memory, if one is *concerned*."""
    rows = np.zeros(len(x.start_pfn), bool)
    for pgmap in x.kernel.pgmaps.values():
        device = x.touched(pgmap.ranges[:1]) if pgmap.ranges else rows
        if pgmap.altmap is not None and (device & concerned).any():
            rows |= device
    return rows


def lent_to_a_neighbour(x: Extents) -> ExtentMask:
    """Rows of the devices whose memory holds memmap that more than one add uses, and of
    those that use such memmap of others."""
    table = x.kernel.vmemmap
    shared = table.column("shared") != 0
    rows = in_shared_page(x)
    first, last = table.start_pfn + table.column("offset"), table.end_pfn + table.column("offset")
    own = shared & (table.column("origin") >= MemmapOrigin.ALTMAP)
    for start, end in zip(first[own].tolist(), last[own].tolist(), strict=True):
        rows |= x.touched([PfnRange(start, end)])
    return rows
