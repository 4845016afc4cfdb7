"""vmemmap on arm64: arch/arm64/mm/mmu.c."""

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
from hotplug_model.pfn import PfnRange
from hotplug_model.state.altmap import Altmap


def vmemmap_populate(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Map *pages* of vmemmap: blocks for a whole section of 4K pages, else base pages.

    A block that is there already is taken as it is. Refuses with -ENOMEM. # Simplified: as
    from 6.2 on; 6.1 maps base pages from the altmap where that has no block.

    Source: vmemmap_populate(); commit d4234d131b0a ("arm64: mm: Populate vmemmap at the
    page level if not section aligned").
    """
    section = kernel.geometry.memmap_of(kernel.geometry.section_pfns(0)).nr_pages
    small = pages.nr_pages < section and kernel.rules.arm64_maps_parts_by_base_pages
    if small or not kernel.geometry.maps_vmemmap_huge:
        vmemmap_populate_basepages(kernel, pages, altmap)
        return
    for region in kernel.geometry.huge_regions(pages):
        part = region.intersection(pages)
        if kernel.vmemmap.at(part.start_pfn, "level") == MappingLevel.PMD:
            note_shared(kernel, region)
        elif kernel.vmemmap.at(part.start_pfn, "page_table"):
            vmemmap_populate_basepages(kernel, part, altmap)
        elif not take_huge_page(kernel, region, altmap):
            if altmap is not None:
                raise KernelRefusal(errno.ENOMEM)
            vmemmap_populate_basepages(kernel, part, None)


def vmemmap_free(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Free what maps *pages*, blocks as a whole, to the altmap if there is one.

    Source: vmemmap_free(), unmap_hotplug_range(), free_empty_tables(); commit
    bbd6ec605c0f ("arm64/mm: Enable memory hot remove") (in v5.7).
    """
    if not kernel.rules.arm64_frees_vmemmap:
        return
    for region in kernel.geometry.huge_regions(pages):
        part = region.intersection(pages)
        if kernel.vmemmap.at(part.start_pfn, "level") == MappingLevel.PMD:
            # A block goes with the first of its parts: nobody asks about the others.
            free_pages(kernel, region, altmap)
        else:
            free_base_pages(kernel, part, altmap)
