"""vmemmap on x86-64: arch/x86/mm/init_64.c."""

from __future__ import annotations

import errno

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import MappingLevel
from hotplug_model.kernel import Kernel
from hotplug_model.mm.sparse_vmemmap import (
    free_base_pages,
    free_pages,
    note_shared,
    take_huge_page,
    vmemmap_populate_basepages,
)
from hotplug_model.mm.sub_pmd import (
    is_marked,
    mark_unused,
    vmemmap_pmd_is_unused,
    vmemmap_use_new_sub_pmd,
    vmemmap_use_sub_pmd,
)
from hotplug_model.pfn import PfnRange
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.ledger import Law


def vmemmap_populate(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Map *pages* of vmemmap: huge for a whole section, else base pages from RAM.

    A part of a section never takes anything from *altmap*. Refuses with -ENOMEM. Before v6.17
    other page tables than init_mm's had a new top-level entry only when all was mapped.

    Source: vmemmap_populate(), sync_global_pgds(); commit ba72b4c8cf60 ("mm/sparsemem: support
    sub-section hotplug") (in v5.3) for the parts.
    """
    if pages.nr_pages < kernel.geometry.memmap_of(kernel.geometry.section_pfns(0)).nr_pages:
        vmemmap_populate_basepages(kernel, pages, None)
    else:
        vmemmap_populate_hugepages(kernel, pages, altmap)
    if not kernel.rules.pgd_populate_syncs:
        kernel.vmemmap.pgds |= set(kernel.geometry.pgds_of(pages))


def vmemmap_populate_hugepages(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Map *pages* huge, sharing huge pages with neighbours at the ends.

    Where no huge page can be had base pages do, unless *altmap* was to give it: then
    it refuses with -ENOMEM.

    # Simplified: as in 6.1. From 6.2 on, where a page of PTEs is there already, base pages
    come from *altmap*, which never gets them back. It takes 56-byte struct pages.
    """
    for region in kernel.geometry.huge_regions(pages):
        part = region.intersection(pages)
        if kernel.vmemmap.at(part.start_pfn, "level") == MappingLevel.PMD:
            note_shared(kernel, region)
            if kernel.rules.vmemmap_marks_unpopulated != "never":
                vmemmap_use_sub_pmd(kernel, region, part)
        elif kernel.vmemmap.at(part.start_pfn, "page_table"):
            vmemmap_populate_basepages(kernel, part, None)
        elif take_huge_page(kernel, region, altmap):
            if part != region and kernel.rules.vmemmap_marks_unpopulated != "never":
                vmemmap_use_new_sub_pmd(kernel, region, part)
        elif altmap is not None:
            raise KernelRefusal(errno.ENOMEM)
        else:
            vmemmap_populate_basepages(kernel, part, None)


def vmemmap_free(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Free what maps *pages*; a huge page that is shared only when all of it is unused.

    Base pages and pages of PTEs never come from an altmap.

    Source: remove_pmd_table(), remove_pte_table(), free_hugepage_table(); commit e6ab9c4d4377
    ("x86/mm/64: Fix crash in remove_pagetable()") (in v4.12) for where tables are looked for.
    """
    if not kernel.rules.p4d_offset_in_remove_pagetable:
        skip_a_level(kernel, pages)
        return
    scope = None if kernel.rules.altmap_gives_huge_pages_only else altmap
    for region in kernel.geometry.huge_regions(pages):
        part = region.intersection(pages)
        if kernel.vmemmap.at(part.start_pfn, "level") != MappingLevel.PMD:
            free_base_pages(kernel, part, scope)
        elif part == region or unused_as_a_whole(kernel, region, part):
            free_pages(kernel, region, altmap)


def skip_a_level(kernel: Kernel, pages: PfnRange) -> None:
    """With four levels what a top-level entry leads to is taken for one level less than it is, so
    whatever holds struct pages of *pages* for tables of PMDs or PTEs.

    # Simplified: nothing is freed that way, and the kernel goes on.

    Source: remove_pagetable(), which cast pgd_page_vaddr() to p4d_t.
    """
    for part, _ in kernel.vmemmap.runs_of(pages):
        kernel.ledger.breach(Law.MAPPED_BELOW_A_HUGE_PAGE, kernel.geometry.described_by(part))


def unused_as_a_whole(kernel: Kernel, region: PfnRange, part: PfnRange) -> bool:
    """Mark *part* of a huge page; whether nothing else of it is in use either.

    Source: commit 8d400913c231 ("x86/vmemmap: handle unpopulated sub-pmd ranges") (in
    v5.13); before it what was never populated was never marked.
    """
    if kernel.rules.vmemmap_marks_unpopulated != "never":
        return vmemmap_pmd_is_unused(kernel, region, part)
    mark_unused(kernel, part)
    # Nor was what lies behind the last struct page of all.
    every = kernel.geometry.memmap_of(kernel.geometry.all_pfns)
    return every.contains(region) and is_marked(kernel, region)
