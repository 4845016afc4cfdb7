"""Sections, subsection maps and who holds the memmap: mm/sparse.c."""

from __future__ import annotations

import errno

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import (
    SECTION_MEM_MAP,
    MappingLevel,
    MemmapOrigin,
    MemoryClass,
    SectionFlag,
)
from hotplug_model.kernel import Kernel
from hotplug_model.mm import (
    arm64_mmu,
    arm64_unused_vmemmap,
    ia64_discontig,
    powerpc_init_64,
    s390_vmem,
    x86_init_64,
)
from hotplug_model.mm.compound_vmemmap import vmemmap_populate_compound_pages
from hotplug_model.mm.page_alloc import page_init_poison, retire_pages
from hotplug_model.mm.sparse_vmemmap import (
    Backing,
    free_pages,
    map_pages,
    note_shared,
    unmap_pages,
)
from hotplug_model.mm.vmemmap_can_optimize import vmemmap_can_optimize
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.dev_pagemap import DevPagemap
from hotplug_model.state.faults import Allocation
from hotplug_model.state.ledger import Cause, Law
from hotplug_model.state.rcu import usage_of

VMEMMAP_POPULATE = {
    "x86": x86_init_64.vmemmap_populate,
    "arm64": arm64_mmu.vmemmap_populate,
    "powerpc": powerpc_init_64.vmemmap_populate,
    "s390": s390_vmem.vmemmap_populate,
    "ia64": ia64_discontig.vmemmap_populate,
}
VMEMMAP_FREE = {
    "x86": x86_init_64.vmemmap_free,
    "arm64": arm64_mmu.vmemmap_free,
    "powerpc": powerpc_init_64.vmemmap_free,
    "s390": s390_vmem.vmemmap_free,
    "ia64": ia64_discontig.vmemmap_free,
}


def sparse_add_section(
    kernel: Kernel, pfns: PfnRange, altmap: Altmap | None, pgmap: DevPagemap | None
) -> Steps:
    """Make *pfns*, at most one section, valid.

    Refuses with -EEXIST if one of its subsections is populated, with -ENOMEM if the
    altmap has no room for the memmap or an allocation fails.

    Source: sparse_add_section(), section_activate().
    """
    section = kernel.geometry.section_pfns(kernel.geometry.section_nr(pfns.start_pfn))
    flags = kernel.pfns.at(pfns.start_pfn, "section_flags")
    if not flags & SectionFlag.USAGE:
        kernel.faults.allocate(Allocation.USAGE)
    if kernel.pfns.within(pfns, "subsection").any():
        raise KernelRefusal(errno.EEXIST)

    kernel.pfns.set_bits(section, "section_flags", SectionFlag.USAGE)
    memory = MemoryClass.SYSTEM_RAM if pgmap is None else pgmap.memory_class
    kernel.pfns.write(pfns, subsection=1, memory=memory)
    yield "fill_subsection_map"
    reuses_boot_memmap = pfns != section and flags & SectionFlag.IS_EARLY
    if not reuses_boot_memmap:
        try:
            populate_section_memmap(kernel, pfns, altmap, pgmap)
        except KernelRefusal:
            # What was mapped by then goes again, and others may describe pfns by it, too.
            note_used_in_part(kernel, pfns)
            yield from section_deactivate(kernel, pfns, altmap)
            raise
        note_used_in_part(kernel, pfns)
        kernel.nr_memmap_pages += nr_memmap_pages(kernel, pfns)
        yield "populate_section_memmap"

    page_init_poison(kernel, pfns)
    yield "page_init_poison"
    sparse_init_one_section(kernel, section, pfns.start_pfn)
    yield "sparse_init_one_section"
    is_new = sparse_index_init(kernel, section)
    if not (is_new or kernel.rules.existing_root_is_success) and pfns == section:
        depopulate_section_memmap(kernel, pfns, altmap)
        raise KernelRefusal(errno.EEXIST)


def sparse_index_init(kernel: Kernel, section: PfnRange) -> bool:
    """An entry of ``mem_section`` for *section*; False if there is one, which is no failure.

    # Simplified: here it comes last, as nothing depends on it, and is always to be had.

    Source: sparse_index_init(), which then returned -EEXIST.
    """
    root = kernel.geometry.section_root(section.start_pfn)
    is_new = root not in kernel.section_roots
    kernel.section_roots |= {root}
    return is_new


def sparse_init_one_section(kernel: Kernel, section: PfnRange, pfn: int) -> None:
    """A section of which *pfn* is the first to be added now is valid, and encodes where its
    memmap is: of which that of *pfn* may be a part.

    Source: sparse_init_one_section(), sparse_encode_mem_map(); sparse_add_section().
    """
    # An early section stays early: none of its flags is masked out.
    ready = SectionFlag.MARKED_PRESENT | SectionFlag.HAS_MEM_MAP | SectionFlag.MEMMAP
    kernel.pfns.clear_bits(section, "section_flags", SectionFlag.ASTRAY)
    if pfn != section.start_pfn and not kernel.rules.memmap_found_by_pfn_to_page:
        ready |= SectionFlag.ASTRAY
    kernel.pfns.set_bits(section, "section_flags", ready)


def reset_section(kernel: Kernel, section: PfnRange) -> None:
    """A section is not valid any more, nor present: ``section_mem_map`` is 0, or else encodes
    that there is no memmap, which is 0 for section 0 alone.

    Source: section_deactivate(); commit 1f503443e7df ("mm/sparse.c: reset section's mem_map
    when fully deactivated") (in v5.6).
    """
    kernel.pfns.clear_bits(section, "section_flags", SECTION_MEM_MAP)
    if not kernel.rules.section_mem_map_reset_to_0 and section.start_pfn:
        left = SectionFlag.MEMMAP | SectionFlag.ASTRAY
        kernel.pfns.set_bits(section, "section_flags", left)


def populate_section_memmap(
    kernel: Kernel, pfns: PfnRange, altmap: Altmap | None, pgmap: DevPagemap | None
) -> None:
    """Back the struct pages of *pfns*, as the architecture does.

    Refuses with -ENOMEM; what was mapped by then is still mapped.

    Source: __populate_section_memmap() in mm/sparse-vmemmap.c; without
    SPARSEMEM_VMEMMAP populate_section_memmap() in mm/sparse.c.
    """
    if not kernel.layout.sparsemem_vmemmap:
        kernel.faults.allocate(Allocation.VMEMMAP_PAGE)
        pages = kernel.geometry.memmap_of(pfns)
        backing = Backing(origin=MemmapOrigin.BUDDY, nr_pages=pages.nr_pages)
        map_pages(kernel, pages, MappingLevel.PTE, backing)
    elif pgmap is not None and vmemmap_can_optimize(kernel, altmap, pgmap):
        pages = kernel.geometry.memmap_of(pfns)
        vmemmap_populate_compound_pages(kernel, pfns, pages, pgmap)
    else:
        vmemmap_populate(kernel, pfns, altmap)


def vmemmap_populate(kernel: Kernel, pfns: PfnRange, altmap: Altmap | None) -> None:
    """The architecture's, for the memmap of *pfns*."""
    how = kernel.rules.unused_vmemmap
    if how is not None and kernel.geometry.arch == "arm64":
        arm64_unused_vmemmap.vmemmap_populate(kernel, pfns, altmap, how)
    else:
        populate = VMEMMAP_POPULATE[kernel.geometry.arch]
        populate(kernel, vmemmap_range(kernel, pfns), altmap)


def vmemmap_free(kernel: Kernel, pfns: PfnRange, altmap: Altmap | None) -> None:
    """The architecture's, for the memmap of *pfns*."""
    how = kernel.rules.unused_vmemmap
    if how is not None and kernel.geometry.arch == "arm64":
        arm64_unused_vmemmap.vmemmap_free(kernel, pfns, altmap, how)
    else:
        free = VMEMMAP_FREE[kernel.geometry.arch]
        free(kernel, vmemmap_range(kernel, pfns), altmap)


def note_used_in_part(kernel: Kernel, pfns: PfnRange) -> None:
    """With 64K pages others may come to use the rest of the pages at both ends."""
    geometry, pages = kernel.geometry, kernel.geometry.memmap_of(pfns)
    if geometry.subsections_share_pages:
        for page in (pages.start_pfn, pages.end_pfn - 1):
            end = PfnRange(page, page + 1)
            if not pfns.contains(geometry.described_by(end)):
                note_shared(kernel, end)


def vmemmap_range(kernel: Kernel, pfns: PfnRange) -> PfnRange:
    """The pages of vmemmap that populating or freeing the memmap of *pfns* visits."""
    geometry = kernel.geometry
    aligns = geometry.arch == "powerpc"
    return geometry.memmap_of(pfns) if aligns else geometry.walk_of(pfns)


def nr_memmap_pages(kernel: Kernel, pfns: PfnRange) -> int:
    """By how much /proc/vmstat counts the memmap of *pfns*, shared or not.

    # Simplified: counted as from commit c3576889d87b ("mm: fix accounting of memmap
    pages") on, which is what was recorded: a failed add is subtracted though it was never
    added. Later commits have put that right.
    """
    return -(-pfns.nr_pages * kernel.geometry.struct_page_bytes >> kernel.geometry.page_shift)


def section_deactivate(kernel: Kernel, pfns: PfnRange, altmap: Altmap | None) -> Steps:
    """Take *pfns*, at most one section, out of its section.

    Does nothing but warn unless every subsection of *pfns* is populated. The memmap of
    an early section stays until the whole section is gone; its usage map, allocated at
    boot, stays for ever.

    Source: section_deactivate(); commit ef69bc9f689d ("mm/sparse: never partially
    remove memmap for early section") (in v5.9).
    """
    table, geometry = kernel.pfns, kernel.geometry
    if not table.within(pfns, "subsection").all():
        return
    section = geometry.section_pfns(geometry.section_nr(pfns.start_pfn))
    was_early = table.at(pfns.start_pfn, "section_flags") & SectionFlag.IS_EARLY
    table.write(pfns, subsection=0, memory=MemoryClass.NONE)
    yield "clear_subsection_map"
    empty = not table.within(section, "subsection").any()
    if empty:
        if not kernel.rules.usage_freed_by_rcu:
            free_usage(kernel, section)
        table.clear_bits(section, "section_flags", SectionFlag.HAS_MEM_MAP)
        yield "section_mem_map_invalid"
        if kernel.rules.usage_freed_by_rcu:
            free_usage(kernel, section)
    if empty and not kernel.rules.memmap_freed_before_reset:
        reset_section(kernel, section)
    if was_early:
        retire_pages(kernel, pfns)
    if not was_early or not (kernel.rules.early_memmap_kept or empty):
        depopulate_section_memmap(kernel, pfns, altmap)
    if not was_early:
        kernel.nr_memmap_pages -= nr_memmap_pages(kernel, pfns)
    elif empty:
        kernel.nr_memmap_boot_pages -= nr_memmap_pages(kernel, pfns)
        free_map_bootmem(kernel, section)
    yield "depopulate_section_memmap"
    if empty:
        reset_section(kernel, section)
        yield "section_deactivate"


def free_usage(kernel: Kernel, section: PfnRange) -> None:
    """Free the usage map of a section that is empty, unless boot allocated it.

    Source: section_deactivate(); "mm/memory_hotplug: don't free usage map when removing
    a re-added early section" (in v5.5); commit 5ec8e8ea8b77 (in v6.8) for the grace period.
    """
    flags = kernel.pfns.at(section.start_pfn, "section_flags")
    kept = SectionFlag.BOOT_USAGE if kernel.rules.boot_usage_kept else SectionFlag.IS_EARLY
    if flags & kept:
        return
    if flags & SectionFlag.BOOT_USAGE:
        kernel.ledger.breach(Law.BOOT_USAGE_FREED, section)
    kernel.pfns.clear_bits(section, "section_flags", SectionFlag.USAGE)
    name = usage_of(kernel.geometry.section_nr(section.start_pfn))
    if kernel.rules.usage_freed_by_rcu:
        kernel.rcu.kfree_rcu(name, kernel.locks)
    else:
        kernel.rcu.free(name)


def depopulate_section_memmap(
    kernel: Kernel, pfns: PfnRange, altmap: Altmap | None
) -> None:
    """Free what backs the struct pages of *pfns*, as the architecture does.

    Source: depopulate_section_memmap(); commit d41e2f3bd546 ("mm/hotplug: fix hot
    remove failure in SPARSEMEM|!VMEMMAP case") (in v5.6) for the order.
    """
    if kernel.layout.sparsemem_vmemmap:
        vmemmap_free(kernel, pfns, altmap)
        return
    pages = kernel.geometry.memmap_of(pfns)
    if not kernel.vmemmap.runs_of(pages):
        # There is none, and pfn_to_page() of a section without a memmap is no pointer.
        kernel.ledger.breach(Law.FREED_TO_A_STRANGER, pfns, Cause.UNPOPULATED)
    elif kernel.rules.memmap_freed_before_reset:
        free_pages(kernel, pages, None)
    else:
        # pfn_to_page() asks the section for its memmap, which says nothing any more.
        kernel.ledger.breach(Law.FREED_TO_A_STRANGER, pfns)
        unmap_pages(kernel, pages)


def free_map_bootmem(kernel: Kernel, section: PfnRange) -> None:
    """Free the memmap that boot gave a section.

    Source: free_map_bootmem().
    """
    if kernel.layout.sparsemem_vmemmap:
        vmemmap_free(kernel, section, None)
    else:
        free_pages(kernel, kernel.geometry.memmap_of(section), None)


def online_mem_sections(kernel: Kernel, pfns: PfnRange) -> None:
    """Set SECTION_IS_ONLINE of every section that *pfns* touch."""
    for section_nr in kernel.geometry.sections_of(pfns):
        section = kernel.geometry.section_pfns(section_nr)
        kernel.pfns.set_bits(section, "section_flags", SectionFlag.IS_ONLINE)


def offline_mem_sections(kernel: Kernel, pfns: PfnRange) -> None:
    """Clear SECTION_IS_ONLINE of every section that *pfns* touch."""
    for section_nr in kernel.geometry.sections_of(pfns):
        section = kernel.geometry.section_pfns(section_nr)
        kernel.pfns.clear_bits(section, "section_flags", SectionFlag.IS_ONLINE)


def section_taint_zone_device(kernel: Kernel, pfn: int) -> None:
    """Mark the section of *pfn* as shared with device memory; never undone.

    Source: commit 1f90a3477df3 ("mm: teach pfn_to_online_page() about ZONE_DEVICE
    section collisions") (in v5.12).
    """
    section = kernel.geometry.section_pfns(kernel.geometry.section_nr(pfn))
    kernel.pfns.set_bits(section, "section_flags", SectionFlag.TAINT_ZONE_DEVICE)
