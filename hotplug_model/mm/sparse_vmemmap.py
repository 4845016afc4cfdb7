"""Mapping and freeing the memory behind the memmap: mm/sparse-vmemmap.c.

Every page of vmemmap that an architecture takes or gives back passes here, so that the
ledger is complete, and the pfn table always says where each struct page lives.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import MappingLevel, MemmapOrigin, PageContent, SectionFlag
from hotplug_model.kernel import Kernel
from hotplug_model.mm.page_alloc import NO_PGMAP
from hotplug_model.pfn import PfnRange
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.faults import Allocation
from hotplug_model.state.ledger import Cause, Law
from hotplug_model.state.vmemmap import NOWHERE, VMEMMAP_RESERVE_NR

SHARED, CORRUPTED = 1, 2
CAUSES = (Cause.NONE, Cause.SHARED, Cause.CORRUPTED)
"""By the column ``shared``."""
OWN_MEMORY = (MemmapOrigin.ALTMAP, MemmapOrigin.SELF_HOSTED)
"""Memory that no allocator but an altmap ever had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backing:
    """Where the memory of a mapping comes from."""

    origin: MemmapOrigin
    frame: int | None = None
    """First frame; None if which one it is does not matter."""
    tail: int = NOWHERE
    """The one frame that all pages alias."""
    period: int = 0
    """Vmemmap pages a compound page, if deduplicated."""
    nr_pages: int = 0
    """Pages that its allocator gave for it."""


def map_pages(kernel: Kernel, pages: PfnRange, level: MappingLevel, backing: Backing) -> None:
    """Map *pages* of vmemmap, none of which is mapped, and enter them in the ledger."""
    if pages.nr_pages <= 0:
        return
    frame = pages.start_pfn if backing.frame is None else backing.frame
    kernel.vmemmap.write(
        pages,
        level=level,
        origin=backing.origin,
        offset=frame - pages.start_pfn,
        tail=backing.tail,
        period=backing.period,
        phase=pages.start_pfn if backing.period else 0,
    )
    own = backing.origin in OWN_MEMORY
    if not own:
        kernel.ledger.allocated(backing.origin, backing.nr_pages)
    # What an altmap gives still holds what it held before. # Simplified: the buddy allocator
    # zeroes here, as with init_on_alloc, which all recorded kernels have.
    show_in_pfn_table(kernel, pages, PageContent.GARBAGE if own else PageContent.ZEROED)


def unmap_pages(kernel: Kernel, pages: PfnRange) -> None:
    """Take the mappings of *pages* away; who gets the memory is another matter."""
    kernel.vmemmap.write(
        pages, level=0, origin=0, offset=0, tail=NOWHERE, period=0, phase=0, shared=0
    )
    show_in_pfn_table(kernel, pages, PageContent.NONE)


def show_in_pfn_table(kernel: Kernel, pages: PfnRange, content: PageContent) -> None:
    """Say of each pfn that *pages* describe where its struct page lives now.

    A struct page that reaches into the next page of vmemmap needs both.

    ```
    vmemmap pages     |    n    |   n+1   |   n+2   |
    struct pages      |   |   |   |   |   |   |   |         56 bytes each
                                ^ needs n and n+1
    ```
    """
    geometry, vmemmap = kernel.geometry, kernel.vmemmap
    size, each = geometry.page_bytes, geometry.struct_page_bytes
    runs = vmemmap.overlapping(pages)
    starts, ends = vmemmap.start_pfn[runs].tolist(), vmemmap.end_pfn[runs].tolist()
    origins = vmemmap.column("origin")[runs].tolist()
    for start, end, origin in zip(starts, ends, origins, strict=True):
        part = PfnRange(start, end).intersection(pages)
        inside = PfnRange(-(-part.start_pfn * size // each), part.end_pfn * size // each)
        write_struct_pages(kernel, inside, origin, content)
        for page in (part.start_pfn, part.end_pfn):
            if page * size % each:
                pfn = page * size // each
                both = [vmemmap.at(p, "origin") for p in (page - 1, page)]
                write_struct_pages(kernel, PfnRange(pfn, pfn + 1), all(both) and both[0], content)


def write_struct_pages(
    kernel: Kernel, pfns: PfnRange, origin: int, content: PageContent
) -> None:
    """Struct pages that nobody has initialised, or none at all; others stay as they are."""
    pfns = pfns.intersection(kernel.geometry.all_pfns)
    if pfns.nr_pages > 0 and kernel.pfns.at(pfns.start_pfn, "memmap") != origin:
        kernel.pfns.write(
            pfns,
            memmap=origin, content=content if origin else PageContent.NONE,
            zone=0, nid=0, page_flags=0, refcount=0, page_pgmap=NO_PGMAP,
        )  # fmt: skip


# Populating


def vmemmap_populate_basepages(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Map *pages* a base page at a time, from *altmap* or the buddy allocator.

    What is mapped already stays as it is. Refuses with -ENOMEM at the first page, or page
    of PTEs, that cannot be had, and leaves those before it mapped.

    Source: vmemmap_populate_basepages(), vmemmap_populate_address().
    """
    for region in kernel.geometry.huge_regions(pages):
        part = region.intersection(pages)
        if kernel.vmemmap.at(part.start_pfn, "level") == MappingLevel.PMD:
            # Nothing asks whether the PMD is a huge mapping: its struct pages are taken
            # for PTEs. # Simplified: what that overwrites is not tracked.
            described = kernel.geometry.described_by(part)
            kernel.ledger.breach(Law.MAPPED_BELOW_A_HUGE_PAGE, described, Cause.CORRUPTED)
            kernel.vmemmap.write(region, shared=CORRUPTED)
            continue
        ensure_page_table(kernel, region)
        holes = unmapped(kernel, part)
        if holes != [part]:
            note_shared(kernel, part)
        for hole in holes:
            take_base_pages(kernel, hole, altmap)


def note_shared(kernel: Kernel, pages: PfnRange) -> None:
    """What maps *pages* is used by one more add."""
    for mapped, row in kernel.vmemmap.runs_of(pages):
        kernel.vmemmap.write(mapped, shared=row["shared"] or SHARED)


def ensure_page_table(kernel: Kernel, region: PfnRange) -> None:
    """A page of PTEs for a huge region. Refuses with -ENOMEM."""
    if not kernel.vmemmap.at(region.start_pfn, "page_table"):
        kernel.faults.allocate(Allocation.PAGE_TABLE)
        kernel.vmemmap.write(region, page_table=1)


def unmapped(kernel: Kernel, pages: PfnRange) -> list[PfnRange]:
    """The parts of *pages* that nothing maps."""
    holes, start = [], pages.start_pfn
    for part, _ in kernel.vmemmap.runs_of(pages):
        holes.append(PfnRange(start, part.start_pfn))
        start = part.end_pfn
    holes.append(PfnRange(start, pages.end_pfn))
    return [hole for hole in holes if hole.nr_pages > 0]


def take_base_pages(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Allocate and map *pages* one by one. Refuses with -ENOMEM, those before stay."""
    if altmap is not None:
        nr, frame = altmap.allocate_each(pages.nr_pages)
        backing = Backing(origin=altmap.origin, frame=frame)
    else:
        nr = kernel.faults.grant(Allocation.VMEMMAP_PAGE, pages.nr_pages)
        backing = Backing(origin=MemmapOrigin.BUDDY, nr_pages=nr)
    granted = PfnRange(pages.start_pfn, pages.start_pfn + nr)
    map_pages(kernel, granted, MappingLevel.PTE, backing)
    if nr < pages.nr_pages:
        raise KernelRefusal(errno.ENOMEM)


def take_huge_page(kernel: Kernel, region: PfnRange, altmap: Altmap | None) -> bool:
    """Allocate and map one huge page; False if there is none."""
    if altmap is not None:
        frame = altmap.allocate(region.nr_pages)
        backing = Backing(origin=altmap.origin, frame=frame)
        if frame is None:
            return False
    else:
        backing = Backing(origin=MemmapOrigin.BUDDY, nr_pages=region.nr_pages)
        if not kernel.faults.grant(Allocation.VMEMMAP_HUGE, 1):
            return False
    map_pages(kernel, region, MappingLevel.PMD, backing)
    return True


# Freeing


def free_pages(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Unmap *pages*, all of one backing, and free it: to *altmap*, or to the allocator.

    That memory which boot allocated goes back as such is right on every architecture
    that can tell it by PG_reserved. A page that aliases hold stays until the last goes.
    The ledger gets an entry for everything that is wrong with it.

    Source: free_pagetable(), arch/x86/mm/init_64.c; free_hotplug_page_range(),
    arch/arm64/mm/mmu.c; vmemmap_free(), arch/powerpc/mm/init_64.c.
    """
    audit(kernel, pages, altmap)
    rows = kernel.vmemmap.runs_of(pages)
    before = kernel.vmemmap.live_pages()
    unmap_pages(kernel, pages)
    after = kernel.vmemmap.live_pages()
    for origin in before:
        own = [(part, row) for part, row in rows if row["origin"] == origin]
        # The last reference frees a page that has aliases; all others go one by one.
        aliased = any(row["tail"] != NOWHERE or row["period"] for _, row in own)
        one_by_one = sum(part.nr_pages for part, _ in own)
        nr_pages = before[origin] - after[origin] if aliased else one_by_one
        if altmap is not None:
            altmap.release(nr_pages)
        # That it went to the wrong one is written down; here it is gone.
        if origin not in OWN_MEMORY:
            kernel.ledger.freed(origin, nr_pages)
            if altmap is not None:
                kernel.ledger.lost[origin] += nr_pages


def audit(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Write down what is wrong with freeing *pages* to *altmap* or the allocator."""
    in_use = described_and_valid(kernel, pages)
    for part, row in kernel.vmemmap.runs_of(pages):
        cause = CAUSES[row["shared"]]
        if in_use is not None:
            suffers = any(
                entry.cause == Cause.CORRUPTED and entry.pfns.overlaps(in_use)
                for entry in kernel.ledger.breaches
            )
            cause = Cause.CORRUPTED if suffers else cause
            kernel.ledger.breach(Law.FREED_IN_USE, in_use, cause)
        own = row["origin"] in OWN_MEMORY
        ends = (part.start_pfn + row["offset"], part.end_pfn + row["offset"] - 1)
        strange = own if altmap is None else not (own and all(map(altmap.owns, ends)))
        if strange:
            where = kernel.geometry.described_by(part)
            kernel.ledger.breach(Law.FREED_TO_A_STRANGER, where, kernel.ledger.cause or cause)
        if has_aliases(part, row) and not kernel.rules.vmemmap_dedup_counts_references:
            kernel.ledger.breach(Law.FREED_TWICE, kernel.geometry.described_by(part), cause)


def has_aliases(part: PfnRange, row: dict[str, int]) -> bool:
    """Whether two pages of *part*, one run of vmemmap, are backed by the same page."""
    if not row["period"]:
        return row["tail"] != NOWHERE
    return any(
        (page - row["phase"]) % row["period"] >= VMEMMAP_RESERVE_NR
        for page in range(part.start_pfn, min(part.end_pfn, part.start_pfn + row["period"]))
    )


def described_and_valid(kernel: Kernel, pages: PfnRange) -> PfnRange | None:
    """The first range of pfns that *pages* describe and that somebody may look at."""
    pfns = kernel.geometry.described_by(pages)
    runs = kernel.pfns.overlapping(pfns)
    flags = kernel.pfns.column("section_flags")[runs]
    early = SectionFlag.IS_EARLY | SectionFlag.HAS_MEM_MAP
    rows = (kernel.pfns.column("subsection")[runs] != 0) | ((flags & early) == early)
    if not rows.any():
        return None
    first = int(rows.argmax())
    start = int(kernel.pfns.start_pfn[runs][first])
    return PfnRange(start, int(kernel.pfns.end_pfn[runs][first])).intersection(pfns)


def free_base_pages(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Free what PTEs map of *pages*, and the pages of PTEs that map nothing then."""
    for region in kernel.geometry.huge_regions(pages):
        part = region.intersection(pages)
        for mapped, row in kernel.vmemmap.runs_of(part):
            if row["level"] == MappingLevel.PTE:
                free_pages(kernel, mapped, altmap)
        free_empty_table(kernel, region)


def free_empty_table(kernel: Kernel, region: PfnRange) -> None:
    """Free the page of PTEs of a huge region unless it maps something."""
    if not kernel.vmemmap.runs_of(region):
        kernel.vmemmap.write(region, page_table=0)
