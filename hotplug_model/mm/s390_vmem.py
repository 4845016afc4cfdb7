"""vmemmap on s390: arch/s390/mm/vmem.c."""

from __future__ import annotations

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
    vmemmap_pmd_is_unused,
    vmemmap_use_new_sub_pmd,
    vmemmap_use_sub_pmd,
)
from hotplug_model.pfn import PfnRange
from hotplug_model.state.altmap import Altmap


def vmemmap_populate(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Map *pages* of vmemmap, in large frames even where they are used in part only.

    Refuses with -ENOMEM. # Simplified: the kernel takes back here what it mapped, the
    model in section_deactivate(), which follows at once.

    Source: vmemmap_populate(), modify_pmd_table(); commit cd5781d63eaf ("s390/vmemmap:
    remember unused sub-pmd ranges"); "s390/mm: allocate vmemmap pages from self-contained
    memory range" for the altmap.
    """
    for region in kernel.geometry.huge_regions(pages):
        part = region.intersection(pages)
        if kernel.vmemmap.at(part.start_pfn, "level") == MappingLevel.PMD:
            note_shared(kernel, region)
            vmemmap_use_sub_pmd(kernel, region, part)
            continue
        small = kernel.vmemmap.at(part.start_pfn, "page_table")
        if small or not take_huge_page(kernel, region, altmap):
            vmemmap_populate_basepages(kernel, part, altmap)
        elif part != region:
            vmemmap_use_new_sub_pmd(kernel, region, part)


def vmemmap_free(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Free what maps *pages*; a large frame that is shared only when all is unused.

    Source: vmemmap_free(), modify_pmd_table().
    """
    for region in kernel.geometry.huge_regions(pages):
        part = region.intersection(pages)
        if kernel.vmemmap.at(part.start_pfn, "level") != MappingLevel.PMD:
            free_base_pages(kernel, part, altmap)
        elif part == region or vmemmap_pmd_is_unused(kernel, region, part):
            free_pages(kernel, region, altmap)
