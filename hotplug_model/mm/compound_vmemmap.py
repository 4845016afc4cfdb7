"""Deduplicated vmemmap: the tail pages of a compound device page share one page.

```
vmemmap pages of one compound page    | head | tail |  a   |  a   |  a   |  a   |
backed by                             |  H   |  T   |  T   |  T   |  T   |  T   |
```

Source: vmemmap_populate_compound_pages(), mm/sparse-vmemmap.c; commit 4917f55b4ef9
("mm/sparse-vmemmap: improve memory savings for compound devmaps") (in v5.19).
"""

from __future__ import annotations

import errno

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import MappingLevel, MemmapOrigin
from hotplug_model.kernel import Kernel
from hotplug_model.mm.sparse_vmemmap import (
    Backing,
    ensure_page_table,
    map_pages,
    vmemmap_populate_basepages,
)
from hotplug_model.pfn import PfnRange
from hotplug_model.state.dev_pagemap import DevPagemap
from hotplug_model.state.faults import Allocation
from hotplug_model.state.ledger import Law
from hotplug_model.state.vmemmap import VMEMMAP_RESERVE_NR


def vmemmap_populate_compound_pages(
    kernel: Kernel, pfns: PfnRange, pages: PfnRange, pgmap: DevPagemap
) -> None:
    """Map *pages*, the memmap of *pfns*. Refuses with -ENOMEM, what is mapped stays.

    A section that lies inside of a compound page owns nothing: all of it aliases the
    page in front of it.
    """
    reuses = reuse_compound_section(kernel, pfns, pgmap)
    period = pgmap.vmemmap_nr * kernel.geometry.struct_page_bytes >> kernel.geometry.page_shift
    period = min(max(1, period), pages.nr_pages)
    if kernel.geometry.arch == "powerpc":
        if not reuses:
            allocate_in_vain(kernel, nr_owned(pages.nr_pages, period))
        return
    for region in kernel.geometry.huge_regions(pages):
        ensure_page_table(kernel, region)
    if reuses:
        tail = compound_section_tail_page(kernel, pages)
        backing = Backing(origin=MemmapOrigin.BUDDY, tail=tail)
        map_pages(kernel, pages, MappingLevel.PTE, backing)
        return
    if period <= VMEMMAP_RESERVE_NR:
        populate_without_aliases(kernel, pages, period)
        return
    wanted = nr_owned(pages.nr_pages, period)
    granted = kernel.faults.grant(Allocation.VMEMMAP_PAGE, wanted)
    end = pages.end_pfn
    if granted < wanted:
        # Aliases behind the last page that was had are mapped only with its tail.
        compounds, rest = divmod(granted, VMEMMAP_RESERVE_NR)
        end = pages.start_pfn + compounds * period + rest
    backing = Backing(origin=MemmapOrigin.BUDDY, period=period, nr_pages=granted)
    map_pages(kernel, PfnRange(pages.start_pfn, end), MappingLevel.PTE, backing)
    if granted < wanted:
        raise KernelRefusal(errno.ENOMEM)


def reuse_compound_section(kernel: Kernel, pfns: PfnRange, pgmap: DevPagemap) -> bool:
    """Whether *pfns* lie inside of a compound page that starts in front of them."""
    offset = pfns.start_pfn - pgmap.ranges[pgmap.nr_range].start_pfn
    inside = offset % pgmap.vmemmap_nr != 0
    return inside and pgmap.vmemmap_nr > kernel.geometry.pages_per_subsection


def allocate_in_vain(kernel: Kernel, nr_pages: int) -> None:
    """Fill page tables that the hash MMU of powerpc does not look at. Refuses with
    -ENOMEM."""
    granted = kernel.faults.grant(Allocation.VMEMMAP_PAGE, nr_pages)
    kernel.ledger.allocated(MemmapOrigin.BUDDY, granted)
    if granted < nr_pages:
        raise KernelRefusal(errno.ENOMEM)


def nr_owned(nr_pages: int, period: int) -> int:
    """Pages that *nr_pages* of vmemmap take when they are deduplicated."""
    compounds, rest = divmod(nr_pages, period)
    return compounds * VMEMMAP_RESERVE_NR + min(rest, VMEMMAP_RESERVE_NR)


def populate_without_aliases(kernel: Kernel, pages: PfnRange, period: int) -> None:
    """What becomes of compound pages too small for an alias.

    For each the head's page and the one behind it are mapped, even if that one belongs
    to the next compound page, or to what lies behind the range.
    """
    end = max(pages.end_pfn, pages.end_pfn - period + VMEMMAP_RESERVE_NR)
    wanted = PfnRange(pages.start_pfn, end)
    vmemmap_populate_basepages(kernel, wanted, None)


def compound_section_tail_page(kernel: Kernel, pages: PfnRange) -> int:
    """The page that holds the tail pages in front of *pages*.

    The kernel looks for its entry in a page of PTEs, and takes struct pages for one where a
    huge page is mapped: a compound page that begins in a section of boot's. No driver has one.

    Source: compound_section_tail_page(), mm/sparse-vmemmap.c (6.1).
    """
    last = pages.start_pfn - 1
    in_front = PfnRange(last, pages.start_pfn)
    _, row = kernel.vmemmap.runs_of(in_front)[0]
    if row["level"] == MappingLevel.PMD:
        described = kernel.geometry.described_by(in_front)
        kernel.ledger.breach(Law.MAPPED_BELOW_A_HUGE_PAGE, described)
    if row["tail"] >= 0:
        return row["tail"]
    if row["period"]:
        within = (last - row["phase"]) % row["period"]
        return last - within + min(within, 1)
    return last
