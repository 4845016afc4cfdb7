"""vmemmap on arm64 as seed 004 proposes it: a shared mapping goes with its last part.

A block, or a base page of 64K, may describe several ranges that come and go on their own.
Which of its parts are unused is marked in memblock, byte by byte of physical memory; when
all are, the mapping is freed. Or the section map is asked, which needs no marks.

```
struct pages of     | subsection 0 | subsection 1 | subsection 2 | subsection 3 |
mapped by           |<----------------------- one block ----------------------->|
memblock.memory     |    UNUSED    |              |            UNUSED           |
```

# Simplified: what a block has room for behind the memmap of boot is never marked; with
64-byte struct pages there is no such room. Unlike today's arm64 every page is visited that
a range touches, see Geometry.walk_of().

Source: "[PATCH v2 3/5] mm: memory_hotplug: memblock to track partially removed vmemmap
mem" and "[PATCH v2 5/5] mm: memory-hotplug: Add memory hot remove support for arm64",
linux-mm, November 2017.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from itertools import pairwise

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import MappingLevel
from hotplug_model.kernel import Kernel
from hotplug_model.mm.memblock import (
    memblock_clear_unused_vmemmap,
    memblock_is_vmemmap_unused_range,
    memblock_mark_unused_vmemmap,
)
from hotplug_model.mm.sparse_vmemmap import (
    OWN_MEMORY,
    described_and_valid,
    ensure_page_table,
    free_empty_table,
    free_pages,
    take_base_pages,
    take_huge_page,
    unmapped,
)
from hotplug_model.pfn import PfnRange
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.faults import Allocation
from hotplug_model.state.ledger import Law
from hotplug_model.state.memblock import UnusedVmemmap

SPARE_REGIONS = 6
"""Regions that two marks of a new mapping may add, and one at its removal."""


def vmemmap_populate(
    kernel: Kernel, pfns: PfnRange, altmap: Altmap | None, how: UnusedVmemmap
) -> None:
    """Map the memmap of *pfns*, by blocks if that is what parts of a section get.

    Refuses with -ENOMEM; what was mapped by then is still mapped.

    Source: vmemmap_populate() in "[PATCH v2 5/5] ...".
    """
    memmap = bytes_of_memmap(kernel, pfns)
    geometry = kernel.geometry
    small = pfns.nr_pages < geometry.pages_per_section
    blocks = geometry.maps_vmemmap_huge and not (
        small and kernel.rules.arm64_maps_parts_by_base_pages
    )
    for region in geometry.huge_regions(geometry.memmap_of(pfns)):
        part = memmap.intersection(kernel.geometry.bytes_of(region))
        if kernel.vmemmap.at(region.start_pfn, "level") == MappingLevel.PMD:
            use_again(kernel, region, part, how)
        elif not blocks or kernel.vmemmap.at(region.start_pfn, "page_table"):
            populate_base_pages(kernel, region, part, altmap, how)
        else:
            populate_block(kernel, region, part, altmap, how)


def populate_block(
    kernel: Kernel, region: PfnRange, part: PfnRange, altmap: Altmap | None, how: UnusedVmemmap
) -> None:
    """Map *region* by a new block, or *part* of it by base pages if there is none."""
    memory = lender(kernel, region, part, altmap, how)
    ensure_room_for_marks(kernel, region, part, how)
    if take_huge_page(kernel, region, memory):
        use_new(kernel, region, part, how)
    elif memory is not None:
        raise KernelRefusal(errno.ENOMEM)
    else:
        populate_base_pages(kernel, region, part, None, how)


def populate_base_pages(
    kernel: Kernel, region: PfnRange, part: PfnRange, altmap: Altmap | None, how: UnusedVmemmap
) -> None:
    """Map *part* of *region* a base page at a time; the pages at its ends may be shared."""
    ensure_page_table(kernel, region)
    for pages, bytes_used in base_pages(kernel, part):
        holes = unmapped(kernel, pages)
        if not holes:
            use_again(kernel, pages, bytes_used, how)
            continue
        ensure_room_for_marks(kernel, pages, bytes_used, how)
        for hole in holes:
            take_base_pages(kernel, hole, lender(kernel, pages, bytes_used, altmap, how))
        use_new(kernel, pages, bytes_used, how)
        if not how.clears_only_the_part:
            change_marks(kernel, kernel.geometry.bytes_of(pages), False, how)


def base_pages(kernel: Kernel, part: PfnRange) -> list[tuple[PfnRange, PfnRange]]:
    """*part*, in bytes of vmemmap, cut into pages that it shares and pages that it fills.

    ```
    pages       |   0   |   1   |   2   |   3   |
    part             [----------------------)
    cut          |--0--|  |--1 and 2--|  |--3--|
    ```
    """
    size = kernel.geometry.page_bytes
    first, last = part.start_pfn // size, -(-part.end_pfn // size)
    full_first, full_last = -(-part.start_pfn // size), part.end_pfn // size
    cuts = sorted({first, min(full_first, last), max(full_last, first), last})
    pages = [PfnRange(a, b) for a, b in pairwise(cuts)]
    return [(each, part.intersection(kernel.geometry.bytes_of(each))) for each in pages]


def lender(
    kernel: Kernel, pages: PfnRange, part: PfnRange, altmap: Altmap | None, how: UnusedVmemmap
) -> Altmap | None:
    """Who gives the memory of a new mapping: *altmap*, but not if others may share it."""
    shared = part != kernel.geometry.bytes_of(pages)
    return None if shared and how.shares_ram_only else altmap


def use_new(kernel: Kernel, pages: PfnRange, part: PfnRange, how: UnusedVmemmap) -> None:
    """Of the new mapping of *pages* only *part* is used: mark the rest.

    Source: inferred; the posted series marks nothing here.
    """
    whole = kernel.geometry.bytes_of(pages)
    if how.marks_unpopulated:
        change_marks(kernel, PfnRange(whole.start_pfn, part.start_pfn), True, how)
        change_marks(kernel, PfnRange(part.end_pfn, whole.end_pfn), True, how)


def use_again(kernel: Kernel, pages: PfnRange, part: PfnRange, how: UnusedVmemmap) -> None:
    """*part* of a mapping that is there already comes into use: clear its mark.

    Refuses with -ENOMEM, if errors are looked at.

    Source: vmemmap_populate() in "[PATCH v2 5/5] ...": [addr, next) of a block, but all
    of a base page.
    """
    ensure_room_for_marks(kernel, pages, part, how)
    block = kernel.vmemmap.at(pages.start_pfn, "level") == MappingLevel.PMD
    if how.clears_reused:
        exact = block or how.clears_only_the_part
        change_marks(kernel, part if exact else kernel.geometry.bytes_of(pages), False, how)


def vmemmap_free(kernel: Kernel, pfns: PfnRange, altmap: Altmap | None, how: UnusedVmemmap) -> None:
    """Free what maps the memmap of *pfns* and nothing else; mark the rest as unused.

    Source: vmemmap_free(), remove_pmd_table(), remove_pte_table() in "[PATCH v2 5/5] ...".
    """
    memmap = bytes_of_memmap(kernel, pfns)
    for region in kernel.geometry.huge_regions(kernel.geometry.memmap_of(pfns)):
        part = memmap.intersection(kernel.geometry.bytes_of(region))
        if kernel.vmemmap.at(region.start_pfn, "level") == MappingLevel.PMD:
            free_mapping(kernel, region, part, altmap, how)
            continue
        for pages, bytes_used in base_pages(kernel, part):
            free_mapping(kernel, pages, bytes_used, altmap, how)
        free_empty_table(kernel, region)


def free_mapping(
    kernel: Kernel, pages: PfnRange, part: PfnRange, altmap: Altmap | None, how: UnusedVmemmap
) -> None:
    """*part* of what maps *pages* is not used any more: free it unless another part is.

    What is removed as a whole is freed without a question. Memory of an altmap goes back
    to it, all other to the buddy allocator, whatever *altmap* says.

    Source: mark_n_free_pmd_vmemmap(), rm_pmd_mapping() and their like for PTEs,
    free_pagetable() in "[PATCH v2 5/5] ...". There a page is freed before its marks are
    cleared and its entry is; as both adding and removing hold mem_hotplug_lock, nobody can
    see the difference to the order here.
    """
    mapped = kernel.vmemmap.runs_of(pages)
    whole = part == kernel.geometry.bytes_of(pages)
    if mapped and (whole or is_unused_without(kernel, pages, part, how)):
        for run, row in mapped:
            free_pages(kernel, run, altmap if row["origin"] in OWN_MEMORY else None)


def is_unused_without(kernel: Kernel, pages: PfnRange, part: PfnRange, how: UnusedVmemmap) -> bool:
    """Whether nothing of a mapping is in use now that *part* is not.

    By the section map: whether none of the pfns that it describes is valid. The bits of
    *part* were cleared before: section_deactivate() does that first.

    Source: mark_n_free_pmd_vmemmap() in "[PATCH v2 5/5] ..."; for the section map
    vmemmap_populated(), arch/powerpc/mm/init_64.c.
    """
    if not how.uses_marks:
        return described_and_valid(kernel, pages) is None
    memory, whole = kernel.memblock, physical(kernel, kernel.geometry.bytes_of(pages))
    # A removal cannot fail: what it cannot mark it leaks, whoever looks at the errno.
    unchecked = replace(how.helpers, checks_errors=False)
    memblock_mark_unused_vmemmap(memory, physical(kernel, part), unchecked)
    unused, out_of_bounds = memblock_is_vmemmap_unused_range(memory, memory, whole, how.helpers)
    if out_of_bounds:
        where = kernel.geometry.described_by(pages)
        kernel.ledger.breach(Law.READ_OUT_OF_BOUNDS, where)
    if unused and how.clears_freed:
        memblock_clear_unused_vmemmap(memory, whole, unchecked)
    return unused


# Marks


def ensure_room_for_marks(
    kernel: Kernel, pages: PfnRange, part: PfnRange, how: UnusedVmemmap
) -> None:
    """Before a mapping is taken, or used again: is there room to mark its parts?

    Refuses with -ENOMEM, while adding memory can be refused still, if errors are looked
    at. # Simplified: that room is not kept for it until it is removed.

    Source: inferred; no caller in the series looks at what the helpers return.
    """
    shared = part != kernel.geometry.bytes_of(pages)
    if not (shared and how.uses_marks and how.helpers.checks_errors):
        return
    kernel.faults.allocate(Allocation.MEMBLOCK_REGIONS)
    if kernel.memblock.cnt + SPARE_REGIONS > kernel.memblock.max:
        raise KernelRefusal(errno.ENOMEM)


def change_marks(kernel: Kernel, part: PfnRange, set_flag: bool, how: UnusedVmemmap) -> None:
    """Mark or unmark *part*, in bytes of vmemmap, of a mapping, while memory is added.

    Who looks at errors has made sure that there is room; else it may fail unnoticed.
    """
    if part.nr_pages <= 0 or not how.uses_marks:
        return
    unchecked = not how.helpers.checks_errors
    if unchecked and not kernel.faults.grant(Allocation.MEMBLOCK_REGIONS, 1):
        return
    change = memblock_mark_unused_vmemmap if set_flag else memblock_clear_unused_vmemmap
    change(kernel.memblock, physical(kernel, part), how.helpers)


def bytes_of_memmap(kernel: Kernel, pfns: PfnRange) -> PfnRange:
    """Where in vmemmap, in bytes, the struct pages of *pfns* are."""
    size = kernel.geometry.struct_page_bytes
    return PfnRange(pfns.start_pfn * size, pfns.end_pfn * size)


def physical(kernel: Kernel, part: PfnRange) -> PfnRange:
    """The physical address of *part*, in bytes of vmemmap, of one mapping.

    What an altmap gave is its own memory. All other lies in a range behind all pfns: see
    Kernel.memblock.
    """
    page = part.start_pfn // kernel.geometry.page_bytes
    own = kernel.vmemmap.at(page, "origin") in OWN_MEMORY
    frames = kernel.vmemmap.at(page, "offset")
    frames += 0 if own else kernel.geometry.all_pfns.end_pfn
    shift = frames * kernel.geometry.page_bytes
    return PfnRange(part.start_pfn + shift, part.end_pfn + shift)
