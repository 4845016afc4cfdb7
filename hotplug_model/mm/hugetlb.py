"""HugeTLB pages of the pool: mm/hugetlb.c. None of them is in use.

# Simplified: which pages the pool gets is asked for, not found; a page that broke is in none.
"""

from __future__ import annotations

import errno

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import PageFlag
from hotplug_model.kernel import Kernel
from hotplug_model.mm.hugetlb_vmemmap import (
    hugetlb_vmemmap_optimize_folio,
    hugetlb_vmemmap_restore_folio,
    is_optimized,
)
from hotplug_model.mm.page_alloc import is_free
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps


def alloc_pool_huge_folio(kernel: Kernel, pfns: PfnRange) -> Steps:
    """Take *pfns* from the buddy allocator as one page of the pool; without most of its
    vmemmap, if that works out.

    Refuses with -EINVAL if that is no size of a huge page, with -ENOMEM unless all is free.

    Source: alloc_pool_huge_folio(), prep_and_add_allocated_folios(); hugetlbfs_size_to_hpage().
    """
    sizes = kernel.geometry.hugetlb_sizes
    if pfns.nr_pages not in sizes or not pfns.is_aligned(pfns.nr_pages):
        raise KernelRefusal(errno.EINVAL)
    if not (is_free(kernel, pfns) and in_one_zone(kernel, pfns)):
        raise KernelRefusal(errno.ENOMEM)
    kernel.pfns.set_bits(pfns, "page_flags", PageFlag.HUGETLB)
    kernel.hugetlb = tuple(sorted((*kernel.hugetlb, pfns)))
    yield "init_new_hugetlb_folio"
    yield from hugetlb_vmemmap_optimize_folio(kernel, pfns)


def in_one_zone(kernel: Kernel, pfns: PfnRange) -> bool:
    """Whether all of *pfns* link to one zone of one node."""
    links = (kernel.pfns.within(pfns, name) for name in ("zone", "nid"))
    return all(len(set(column.tolist())) == 1 for column in links)


def update_and_free_hugetlb_folio(kernel: Kernel, pfns: PfnRange) -> Steps:
    """Give the page of the pool that is *pfns* back, with a vmemmap of its own again.

    Refuses with -EINVAL if there is none, and with -ENOMEM if there is no memory for its
    vmemmap: then it stays.

    Source: __update_and_free_hugetlb_folio(); commit 32c877191e02 ("hugetlb: do not clear
    hugetlb dtor until allocating vmemmap") (in v6.5) for the order.
    """
    if pfns not in kernel.hugetlb:
        raise KernelRefusal(errno.EINVAL)
    optimized = is_optimized(kernel, pfns)
    if not kernel.rules.hugetlb_dtor_outlives_vmemmap:
        kernel.pfns.clear_bits(pfns, "page_flags", PageFlag.HUGETLB)
        yield "__clear_hugetlb_destructor"
    if optimized:
        try:
            hugetlb_vmemmap_restore_folio(kernel, pfns)
        except KernelRefusal:
            # It is added to the pool again.
            kernel.pfns.set_bits(pfns, "page_flags", PageFlag.HUGETLB)
            raise
        yield "hugetlb_vmemmap_restore_folio"
    kernel.pfns.clear_bits(pfns, "page_flags", PageFlag.HUGETLB)
    kernel.hugetlb = tuple(each for each in kernel.hugetlb if each != pfns)
    yield "update_and_free_hugetlb_folio"


def dissolve_free_hugetlb_folios(kernel: Kernel, pfns: PfnRange) -> Steps:
    """Give back every page of the pool of which *pfns*, which go offline, hold a part.

    Refuses as update_and_free_hugetlb_folio(); those before are gone then.

    Source: dissolve_free_hugetlb_folios() in offline_pages().
    """
    for page in [each for each in kernel.hugetlb if each.overlaps(pfns)]:
        yield from update_and_free_hugetlb_folio(kernel, page)
