"""The memory behind the memmap: who has it, who gets it back, and when."""

from __future__ import annotations

from hotplug_model.extents import Extents
from hotplug_model.flags import MappingLevel, MemmapOrigin, PageContent, PageFlag
from hotplug_model.invariants.answer import within
from hotplug_model.invariants.invariant import broken, law
from hotplug_model.pfn import PfnRange, merge_ranges
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.ledger import Law
from hotplug_model.state.vmemmap import NOWHERE

OUT_OF_PAGES = (MemmapOrigin.BOOT, MemmapOrigin.BUDDY)
ALTMAP, UNUSED = int(MemmapOrigin.ALTMAP), int(PageContent.UNUSED)
PTE = int(MappingLevel.PTE)


@law(Law.FREED_TWICE, reads="ledger")
def vmemmap_is_freed_once(x: Extents) -> list[PfnRange]:
    """A page of vmemmap was freed although nobody had allocated it any more.

    Source: free_pagetable(), arch/x86/mm/init_64.c; vmemmap_populate_range(),
    mm/sparse-vmemmap.c, for the reference that every alias holds.
    """
    return broken(x, Law.FREED_TWICE)


@law(Law.FREED_TO_A_STRANGER, reads="ledger")
def memmap_goes_back_to_its_owner(x: Extents) -> list[PfnRange]:
    """A page of vmemmap was freed to somebody that it did not come from.

    Source: free_pagetable() and free_hugepage_table() in arch/x86/mm/init_64.c,
    free_hotplug_page_range() in arch/arm64/mm/mmu.c, vmem_altmap_free() in mm/memremap.c.
    """
    return broken(x, Law.FREED_TO_A_STRANGER)


@law(Law.FREED_IN_USE, reads="ledger")
def vmemmap_outlives_its_pfns(x: Extents) -> list[PfnRange]:
    """A page of vmemmap was freed that still described a valid pfn.

    Source: section_deactivate(), mm/sparse.c; commit d4234d131b0a ("arm64: mm: Populate
    vmemmap at the page level if not section aligned") (in v6.14).
    """
    return broken(x, Law.FREED_IN_USE)


@law(Law.MAPPED_BELOW_A_HUGE_PAGE, reads="ledger")
def struct_pages_are_no_page_table(x: Extents) -> list[PfnRange]:
    """Base pages were mapped below a huge page of vmemmap: struct pages became PTEs.

    Source: vmemmap_pte_populate(), mm/sparse-vmemmap.c.
    """
    return broken(x, Law.MAPPED_BELOW_A_HUGE_PAGE)


@law(Law.BOOT_USAGE_FREED, reads="ledger")
def usage_maps_of_boot_are_kept(x: Extents) -> list[PfnRange]:
    """A usage map that boot allocated was given to kfree().

    Source: section_deactivate(), mm/sparse.c: it shares its page with other sections'.
    """
    return broken(x, Law.BOOT_USAGE_FREED)


@law(Law.READ_OUT_OF_BOUNDS, reads="ledger")
def lookups_stay_in_bounds(x: Extents) -> list[PfnRange]:
    """A look-up read outside of the array of memblock regions.

    Source: memblock_is_vmemmap_unused_range(), mm/memblock.c, as posted in "[PATCH v2
    3/5] mm: memory_hotplug: memblock to track partially removed vmemmap mem" (linux-mm,
    November 2017).
    """
    return broken(x, Law.READ_OUT_OF_BOUNDS)


@law(reads="vmemmap ledger")
def allocated_vmemmap_is_mapped(x: Extents) -> list[PfnRange]:
    """Pages of vmemmap that were allocated and not freed are not those that are mapped.

    Source: vmemmap_alloc_block(), mm/sparse-vmemmap.c; vmemmap_free().
    """
    live, ledger = x.kernel.vmemmap.live_pages(), x.kernel.ledger
    differs = any(live[origin] != ledger.outstanding[origin] for origin in OUT_OF_PAGES)
    return [x.geometry.all_pfns] if differs else []


@law(Law.ALTMAP_IN_USE_AT_TEARDOWN, reads="ledger pgmaps blocks vmemmap")
def altmaps_account_for_what_they_gave(x: Extents) -> list[PfnRange]:
    """An altmap has not got back what it gave, or got back what it never gave.

    Its alloc must be the number of its pages that hold memmap, and 0 when it ends, or the
    memory block that has it does.

    Source: vmem_altmap_free(), mm/memremap.c; altmap_alloc_block_buf(),
    mm/sparse-vmemmap.c; memory_block_release(), drivers/base/memory.c.
    """
    wrong = broken(x, Law.ALTMAP_IN_USE_AT_TEARDOWN)
    for altmap, _ in altmaps(x):
        if altmap.alloc != held_in(x, altmap):
            wrong.append(PfnRange(altmap.base_pfn, altmap.end_pfn))
    return wrong


@law(reads="pfns pgmaps blocks vmemmap", quiescent=True)
def altmaps_back_their_own_device(x: Extents) -> list[PfnRange]:
    """The memory of a device or block holds struct pages of valid pfns that are not its own.

    When it goes, either they go with it or it takes back what is in use.

    Source: altmap_cross_boundary(), arch/powerpc/mm/init_64.c; commit cf387d9644d8
    ("libnvdimm/altmap: Track namespace boundaries in altmap") (in v5.4).
    """
    wrong = []
    for altmap, device in altmaps(x):
        others = x.subsection & ~x.touched(device)
        described = x.touched(x.geometry.described_by(pages) for pages in lent_by(x, altmap))
        if (described & others).any():
            wrong.append(PfnRange(altmap.base_pfn, altmap.end_pfn))
    return wrong


def lent_by(x: Extents, altmap: Altmap) -> list[PfnRange]:
    """Pages of vmemmap that lie in the memory of *altmap*."""
    table = x.kernel.vmemmap
    own = table.column("origin") >= ALTMAP
    offset = table.column("offset")[own]
    first, last = table.start_pfn[own] + offset, table.end_pfn[own] + offset
    end = altmap.base_pfn + altmap.offset
    start = first.clip(altmap.base_pfn, end) - offset
    stop = last.clip(altmap.base_pfn, end) - offset
    pages = [PfnRange(a, b) for a, b in zip(start.tolist(), stop.tolist(), strict=True)]
    return [each for each in pages if each.nr_pages > 0]


def altmaps(x: Extents) -> list[tuple[Altmap, tuple[PfnRange, ...]]]:
    """Every altmap that exists, with all pfns of its map, or of its block."""
    kernel = x.kernel
    # A map that has not got to adding its pages may lie over somebody else's.
    begun = [p for p in kernel.pgmaps.values() if p.nr_added or (p.altmap and p.altmap.alloc)]
    found = [(pgmap.altmap, pgmap.ranges) for pgmap in begun]
    found += [(b.altmap, (kernel.block_pfns(number),)) for number, b in kernel.blocks.items()]
    return [(altmap, pfns) for altmap, pfns in found if altmap is not None]


def held_in(x: Extents, altmap: Altmap) -> int:
    """Pages of *altmap* that back vmemmap."""
    return sum(pages.nr_pages for pages in lent_by(x, altmap))


@law(reads="pfns vmemmap", quiescent=True)
def unused_vmemmap_is_freed(x: Extents) -> list[PfnRange]:
    """A page of vmemmap describes no valid pfn and is still there.

    So is a page of PTEs that maps nothing.

    Source: vmemmap_free() of the architecture: remove_pmd_table() in
    arch/x86/mm/init_64.c, unmap_hotplug_range() and free_empty_tables() in
    arch/arm64/mm/mmu.c; section_deactivate(), mm/sparse.c.
    """
    table, geometry = x.kernel.vmemmap, x.geometry
    valid = x.where(x.subsection | (x.is_early & x.has_mem_map))
    used = {
        MappingLevel.PTE: [geometry.memmap_of(pfns) for pfns in valid],
        MappingLevel.PMD: [hull(geometry.huge_regions(geometry.memmap_of(p))) for p in valid],
    }
    wrong: list[PfnRange] = []
    for level, pages in used.items():
        mapped = table.column("level") == int(level)
        for start, end in zip(
            table.start_pfn[mapped].tolist(), table.end_pfn[mapped].tolist(), strict=True
        ):
            wrong += without(PfnRange(start, end), pages)
    wrong += [region for region in tables_without_entries(x) if region not in wrong]
    return [geometry.described_by(pages) for pages in wrong]


def hull(ranges: list[PfnRange]) -> PfnRange:
    """From the start of the first to the end of the last."""
    return PfnRange(ranges[0].start_pfn, ranges[-1].end_pfn)


def without(pages: PfnRange, used: list[PfnRange]) -> list[PfnRange]:
    """The parts of *pages* that none of the sorted ranges *used* covers."""
    rest, start = [], pages.start_pfn
    for each in used:
        part = PfnRange(start, min(each.start_pfn, pages.end_pfn))
        if part.nr_pages > 0:
            rest.append(part)
        start = max(start, each.end_pfn)
    last = PfnRange(start, pages.end_pfn)
    return [*rest, last] if last.nr_pages > 0 else rest


def tables_without_entries(x: Extents) -> list[PfnRange]:
    """Huge regions of vmemmap that have a page of PTEs which maps nothing."""
    table, size = x.kernel.vmemmap, x.geometry.huge_pages
    has_table = table.column("page_table") != 0
    starts, ends = table.start_pfn[has_table].tolist(), table.end_pfn[has_table].tolist()
    regions = sorted({r for s, e in zip(starts, ends, strict=True)
                      for r in range(s // size, -(-e // size))})  # fmt: skip
    every = [PfnRange(r * size, (r + 1) * size) for r in regions]
    return [region for region in every if not table.runs_of(region)]


@law(reads="vmemmap")
def base_pages_hang_on_a_page_table(x: Extents) -> list[PfnRange]:
    """A base page of vmemmap, or an alias, is mapped where there is no page of PTEs.

    Without SPARSEMEM_VMEMMAP the memmap is in the linear map, and no page table is its own.

    Source: vmemmap_pte_populate(), mm/sparse-vmemmap.c; free_pte_table() in
    arch/x86/mm/init_64.c.
    """
    table = x.kernel.vmemmap
    if not x.kernel.layout.sparsemem_vmemmap:
        return []
    level, alias = table.column("level"), table.column("tail") != NOWHERE
    wrong = (level == PTE) & (table.column("page_table") == 0) | (level > PTE) & alias
    start, end = table.start_pfn[wrong].tolist(), table.end_pfn[wrong].tolist()
    pages = [PfnRange(s, e) for s, e in zip(start, end, strict=True)]
    return [x.geometry.described_by(each) for each in pages]


@law(reads="pfns vmemmap", quiescent=True)
def markers_claim_no_page_in_use(x: Extents) -> list[PfnRange]:
    """All that a huge page of vmemmap describes of a valid section is marked as unused.

    Once the other sections that it describes are gone it is freed.

    Source: vmemmap_pmd_is_unused(), __vmemmap_use_sub_pmd(), arch/x86/mm/init_64.c.
    """
    geometry, kernel = x.geometry, x.kernel
    marked = (x.content == UNUSED) & x.subsection
    wrong = []
    for pfns in x.where(marked):
        for region in geometry.huge_regions(geometry.memmap_of(pfns)):
            if kernel.vmemmap.at(region.start_pfn, "level") != MappingLevel.PMD:
                continue
            for part in geometry.section_chunks(geometry.described_by(region)):
                content = kernel.pfns.within(part, "content")
                if part.overlaps(pfns) and (content == UNUSED).all():
                    wrong.append(part)
    return wrong


@law(reads="pfns vmemmap")
def self_hosted_memmap_is_nobodys_memory(x: Extents) -> list[PfnRange]:
    """A page that holds memmap of its own device or block was given to the buddy allocator.

    Source: mhp_init_memmap_on_memory(), mm/memory_hotplug.c.
    """
    table = x.kernel.vmemmap
    own = table.column("origin") >= ALTMAP
    if not own.any():
        return []
    given = x.where(x.is_managed & (x.refcount == 0))
    first = (table.start_pfn + table.column("offset"))[own].tolist()
    last = (table.end_pfn + table.column("offset"))[own].tolist()
    held = [PfnRange(s, e) for s, e in zip(first, last, strict=True)]
    return [pfns for pfns in given if any(pfns.overlaps(each) for each in held)]


@law(Law.WRITTEN_BEFORE_SYNC, reads="ledger")
def vmemmap_is_written_when_all_have_it(x: Extents) -> list[PfnRange]:
    """vmemmap is written that the page tables of other processes do not map yet.

    Where one of them is in use, which is most likely, the kernel oopses.

    Source: vmemmap_use_new_sub_pmd(), arch/x86/mm/init_64.c; commit 6659d0279980 ("x86/mm/64:
    define ARCH_PAGE_TABLE_SYNC_MASK and arch_sync_kernel_mappings()") (in v6.17).
    """
    return broken(x, Law.WRITTEN_BEFORE_SYNC)


@law(Law.FREED_UNSPLIT, reads="ledger")
def vmemmap_is_freed_as_it_was_given(x: Extents) -> list[PfnRange]:
    """A page of vmemmap is freed by itself that was given as part of a larger one.

    Source: free_vmemmap_page_list(), mm/hugetlb_vmemmap.c; commit 39d35edee453 ("mm: sparsemem:
    fix missing higher order allocation splitting") (in v5.19).
    """
    return broken(x, Law.FREED_UNSPLIT)


@law(reads="pfns vmemmap")
def aliased_struct_pages_are_huge(x: Extents) -> list[PfnRange]:
    """A struct page of RAM is an alias, read-only, and nothing says that it is of a huge page.

    Source: hugetlb_vmemmap_restore_folio(); commit 32c877191e02 ("hugetlb: do not clear hugetlb
    dtor until allocating vmemmap") (in v6.5).
    """
    table = x.kernel.vmemmap
    aliases = (table.column("tail") != NOWHERE) & (table.column("level") != MappingLevel.NONE)
    if not aliases.any():
        return []
    starts, ends = table.start_pfn[aliases].tolist(), table.end_pfn[aliases].tolist()
    described = [x.geometry.described_by(PfnRange(s, e)) for s, e in zip(starts, ends, strict=True)]
    plain = x.is_online_ram & ~x.page_has(PageFlag.HUGETLB)
    return list(merge_ranges(sorted(p for d in described for p in within(x, d, plain))))
