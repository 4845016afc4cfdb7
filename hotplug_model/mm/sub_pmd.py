"""Huge pages of vmemmap in parts: which part is unused says a marker in the part itself.

A huge page that several separately removable ranges share is freed when every byte of
it reads 0xFD. Markers are content: whoever initialises a struct page overwrites one.

Source: vmemmap_use_new_sub_pmd(), vmemmap_use_sub_pmd(), vmemmap_flush_unused_pmd(),
vmemmap_pmd_is_unused(), arch/x86/mm/init_64.c and arch/s390/mm/vmem.c.
"""

from __future__ import annotations

from hotplug_model.flags import PageContent
from hotplug_model.kernel import Kernel
from hotplug_model.mm.page_alloc import NO_PGMAP
from hotplug_model.pfn import PfnRange
from hotplug_model.state.ledger import Law
from hotplug_model.state.vmemmap import NOWHERE


def vmemmap_use_new_sub_pmd(kernel: Kernel, region: PfnRange, part: PfnRange) -> None:
    """Of the new huge page *region* only *part* is used: mark what is in front of it.

    What is behind it is remembered only: most often the next section uses it at once.

    Source: commit 280abe14b6e0 ("x86/mm: Fix marking of unused sub-pmd ranges") (in
    v5.18): until then the marker was written where the used part starts. # Simplified: if
    it runs behind the huge page, into what is not mapped, the kernel oopses.
    """
    if not kernel.rules.pgd_populate_syncs:
        note_missing_pgds(kernel, part)
    vmemmap_flush_unused_pmd(kernel)
    clear_first_marker(kernel, part)
    in_front = PfnRange(region.start_pfn, part.start_pfn)
    if kernel.rules.vmemmap_marks_unpopulated == "misplaced":
        in_front = PfnRange(part.start_pfn, part.start_pfn + in_front.nr_pages)
    mark_unused(kernel, in_front)
    if part.end_pfn != region.end_pfn:
        kernel.vmemmap.unused_pmd_start = part.end_pfn


def note_missing_pgds(kernel: Kernel, part: PfnRange) -> None:
    """Who writes to *part* now does so through whatever page table is in use.

    Source: commit 6659d0279980 ("x86/mm/64: define ARCH_PAGE_TABLE_SYNC_MASK and
    arch_sync_kernel_mappings()") (in v6.17).
    """
    late = kernel.geometry.arch == "x86" and not kernel.vmemmap.pgds.issuperset(
        kernel.geometry.pgds_of(part)
    )
    if late:
        kernel.ledger.breach(Law.WRITTEN_BEFORE_SYNC, kernel.geometry.described_by(part))


def vmemmap_use_sub_pmd(kernel: Kernel, region: PfnRange, part: PfnRange) -> None:
    """*part* of a huge page that is there already is used from now on."""
    if kernel.vmemmap.unused_pmd_start == part.start_pfn:
        more = part.end_pfn != region.end_pfn
        kernel.vmemmap.unused_pmd_start = part.end_pfn if more else NOWHERE
        return
    vmemmap_flush_unused_pmd(kernel)
    clear_first_marker(kernel, part)


def vmemmap_flush_unused_pmd(kernel: Kernel) -> None:
    """Mark the tail that was only remembered."""
    start = kernel.vmemmap.unused_pmd_start
    if start == NOWHERE:
        return
    size = kernel.geometry.huge_pages
    mark_unused(kernel, PfnRange(start, -(-start // size) * size))
    kernel.vmemmap.unused_pmd_start = NOWHERE


def vmemmap_pmd_is_unused(kernel: Kernel, region: PfnRange, part: PfnRange) -> bool:
    """Mark *part* as unused; whether now all of the huge page is."""
    vmemmap_flush_unused_pmd(kernel)
    mark_unused(kernel, part)
    return is_marked(kernel, region)


def mark_unused(kernel: Kernel, pages: PfnRange) -> None:
    """Fill *pages* of vmemmap with PAGE_UNUSED."""
    if pages.nr_pages > 0:
        kernel.pfns.write(
            kernel.geometry.described_by(pages),
            content=PageContent.UNUSED,
            zone=0, nid=0, page_flags=0, refcount=0, page_pgmap=NO_PGMAP,
        )  # fmt: skip


def is_marked(kernel: Kernel, region: PfnRange) -> bool:
    """Whether every struct page in a huge page of vmemmap is marked as unused."""
    described = kernel.geometry.described_by(region)
    content = kernel.pfns.within(described, "content")
    # A struct page at the edge that reaches into a huge page which is gone has no content
    # any more; nobody freed that one while it was in use.
    used = (content != PageContent.UNUSED) & (content != PageContent.NONE)
    return not used.any()


def clear_first_marker(kernel: Kernel, part: PfnRange) -> None:
    """One struct page that reads zero is enough to keep the huge page."""
    first = kernel.geometry.described_by(part).start_pfn
    if kernel.pfns.at(first, "content") == PageContent.UNUSED:
        kernel.pfns.write(PfnRange(first, first + 1), content=PageContent.ZEROED)
