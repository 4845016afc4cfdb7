"""The vmemmap of HugeTLB pages, most of which is given back: mm/hugetlb_vmemmap.c.

```
vmemmap pages of one huge page        | head |  a   |  a   |  a   |
backed by, once it is optimised       |  H   |  H   |  H   |  H   |   read-only but for the first
```
"""

from __future__ import annotations

import errno

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import MappingLevel, MemmapOrigin, PageContent
from hotplug_model.kernel import Kernel
from hotplug_model.mm.sparse_vmemmap import OWN_MEMORY
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.faults import Allocation
from hotplug_model.state.ledger import Law
from hotplug_model.state.vmemmap import NOWHERE


def tail_pages(kernel: Kernel, pfns: PfnRange) -> PfnRange:
    """The pages of vmemmap that the huge page *pfns* can do without: all but the first."""
    pages = kernel.geometry.memmap_of(pfns)
    return PfnRange(pages.start_pfn + 1, pages.end_pfn)


def is_optimized(kernel: Kernel, pfns: PfnRange) -> bool:
    """``folio_test_hugetlb_vmemmap_optimized()``."""
    tails = tail_pages(kernel, pfns)
    return tails.nr_pages > 0 and kernel.vmemmap.at(tails.start_pfn, "tail") != NOWHERE


def vmemmap_should_optimize_folio(kernel: Kernel, pfns: PfnRange) -> bool:
    """Whether it is worth it, and the memory is the buddy allocator's to give or boot's. Of the
    architectures that are modelled x86 alone has it.

    Source: vmemmap_should_optimize_folio(), hugetlb_vmemmap_optimizable_size();
    ARCH_WANT_OPTIMIZE_HUGETLB_VMEMMAP.
    """
    if kernel.geometry.arch != "x86" or not kernel.layout.sparsemem_vmemmap:
        return False
    size, pages = kernel.geometry.struct_page_bytes, kernel.geometry.memmap_of(pfns)
    if size & (size - 1) or tail_pages(kernel, pfns).nr_pages <= 0:
        return False
    return all(row["origin"] not in OWN_MEMORY for _, row in kernel.vmemmap.runs_of(pages))


def hugetlb_vmemmap_optimize_folio(kernel: Kernel, pfns: PfnRange) -> Steps:
    """Map the first page of vmemmap of *pfns* in the place of all others, and free those.

    Huge mappings are split before, which takes a page of PTEs each. If one is not to be had
    all stays as it was; the huge page is one all the same.

    Source: hugetlb_vmemmap_optimize_folio(), vmemmap_remap_free(); commit c7bde43f6daf
    ("mm/hugetlb_vmemmap: fix incorrect vmemmap restore in rollback") (in v7.1).
    """
    if not vmemmap_should_optimize_folio(kernel, pfns):
        return
    geometry, pages = kernel.geometry, kernel.geometry.memmap_of(pfns)
    tails, head = tail_pages(kernel, pfns), pages.start_pfn
    head_frame = head + kernel.vmemmap.at(head, "offset")
    freed = kernel.vmemmap.runs_of(tails)
    try:
        for region in geometry.huge_regions(pages):
            vmemmap_split_pmd(kernel, region)
            kernel.vmemmap.write(region.intersection(tails), tail=head_frame)
    except KernelRefusal:
        remapped = is_optimized(kernel, pfns)
        kernel.vmemmap.write(tails, tail=NOWHERE)
        if remapped and not kernel.rules.hugetlb_rollback_spares_the_head:
            overwrite_head(kernel, PfnRange(head, head + 1))
        return
    for part, row in freed:
        kernel.ledger.freed(MemmapOrigin(row["origin"]), part.nr_pages)
    yield "vmemmap_remap_free"


def vmemmap_split_pmd(kernel: Kernel, region: PfnRange) -> None:
    """Map a huge region of vmemmap by base pages, the same ones. Refuses with -ENOMEM.

    Source: vmemmap_split_pmd(); commit 39d35edee453 ("mm: sparsemem: fix missing higher order
    allocation splitting") (in v5.19): what the buddy allocator gave as one can be freed a page
    at a time only after split_page().
    """
    if kernel.vmemmap.at(region.start_pfn, "level") != MappingLevel.PMD:
        return
    kernel.faults.allocate(Allocation.PAGE_TABLE)
    kernel.vmemmap.write(region, level=MappingLevel.PTE, page_table=1)
    whole = kernel.vmemmap.at(region.start_pfn, "origin") == MemmapOrigin.BUDDY
    if whole and not kernel.rules.vmemmap_split_splits_the_page:
        kernel.ledger.breach(Law.FREED_UNSPLIT, kernel.geometry.described_by(region))


def overwrite_head(kernel: Kernel, page: PfnRange) -> None:
    """The struct pages of a huge page's head, overwritten as all restored ones by a tail's.

    Source: vmemmap_restore_pte(), before commit c7bde43f6daf.
    """
    kernel.pfns.write(kernel.geometry.described_by(page), content=PageContent.GARBAGE)


def hugetlb_vmemmap_restore_folio(kernel: Kernel, pfns: PfnRange) -> None:
    """Give the tails of *pfns* pages of vmemmap of their own, which say what the aliases say.

    Refuses with -ENOMEM unless all of them can be had.

    Source: hugetlb_vmemmap_restore_folio(), vmemmap_remap_alloc().
    """
    tails = tail_pages(kernel, pfns)
    if kernel.faults.grant(Allocation.VMEMMAP_PAGE, tails.nr_pages) < tails.nr_pages:
        raise KernelRefusal(errno.ENOMEM)
    kernel.vmemmap.write(
        tails, origin=MemmapOrigin.BUDDY, offset=0, tail=NOWHERE, shared=0
    )
    kernel.ledger.allocated(MemmapOrigin.BUDDY, tails.nr_pages)
    kernel.pfns.write(kernel.geometry.described_by(tails), memmap=MemmapOrigin.BUDDY)
