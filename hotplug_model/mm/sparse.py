"""Sections, subsection maps and who holds the memmap: mm/sparse.c."""

from __future__ import annotations

import errno

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import MemmapOrigin, PageContent, SectionFlag
from hotplug_model.kernel import Kernel
from hotplug_model.mm.page_alloc import NO_PGMAP, page_init_poison, retire_pages
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.altmap import Altmap


def sparse_add_section(
    kernel: Kernel, pfns: PfnRange, nid: int, altmap: Altmap | None
) -> Steps:
    """Make *pfns*, at most one section, valid.

    Refuses with -EEXIST if one of its subsections is populated, with -ENOMEM if the
    altmap has no room for the memmap.

    Source: sparse_add_section(), section_activate().
    """
    section = kernel.geometry.section_pfns(kernel.geometry.section_nr(pfns.start_pfn))
    flags = kernel.pfns.at(pfns.start_pfn, "section_flags")
    if kernel.pfns.within(pfns, "subsection").any():
        raise KernelRefusal(errno.EEXIST)

    kernel.pfns.set_bits(section, "section_flags", SectionFlag.USAGE)
    kernel.pfns.write(pfns, subsection=1)
    yield "fill_subsection_map"
    reuses_boot_memmap = pfns != section and flags & SectionFlag.IS_EARLY
    if not reuses_boot_memmap:
        yield from populate_section_memmap(kernel, pfns, nid, altmap)

    page_init_poison(kernel, pfns)
    yield "page_init_poison"
    # An early section stays early; sparse_init_one_section() masks nothing out.
    ready = SectionFlag.MARKED_PRESENT | SectionFlag.HAS_MEM_MAP
    kernel.pfns.set_bits(section, "section_flags", ready)
    yield "sparse_init_one_section"


def populate_section_memmap(
    kernel: Kernel, pfns: PfnRange, nid: int, altmap: Altmap | None
) -> Steps:
    """Back the struct pages of *pfns*.

    x86 takes base pages from the buddy allocator for a part of a section, whatever
    altmap it was given, and huge pages, from the altmap if there is one, for a whole.

    Source: vmemmap_populate() in arch/x86/mm/init_64.c.
    """
    whole = pfns.nr_pages == kernel.geometry.pages_per_section
    origin, content = MemmapOrigin.BUDDY, PageContent.ZEROED
    if altmap is not None and whole:
        # The altmap's memory is not zeroed: it still holds what it held before.
        origin, content = MemmapOrigin.ALTMAP, PageContent.GARBAGE
        if altmap.allocate(kernel.geometry.memmap_pages_per_section) is None:
            yield from section_deactivate(kernel, pfns, altmap)
            raise KernelRefusal(errno.ENOMEM)
    write_absent_pages(kernel, pfns, origin, content)
    yield "populate_section_memmap"


def write_absent_pages(
    kernel: Kernel, pfns: PfnRange, origin: MemmapOrigin, content: PageContent
) -> None:
    """Struct pages that nobody has initialised, or none at all."""
    kernel.pfns.write(
        pfns,
        memmap=origin, content=content,
        zone=0, nid=0, page_flags=0, refcount=0, page_pgmap=NO_PGMAP,
    )  # fmt: skip


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
    table.write(pfns, subsection=0)
    yield "clear_subsection_map"
    empty = not table.within(section, "subsection").any()
    if empty:
        table.clear_bits(section, "section_flags", SectionFlag.HAS_MEM_MAP)
        yield "section_mem_map_invalid"
        if not table.at(pfns.start_pfn, "section_flags") & SectionFlag.BOOT_USAGE:
            table.clear_bits(section, "section_flags", SectionFlag.USAGE)
    if not was_early or not kernel.rules.early_memmap_kept:
        depopulate_section_memmap(kernel, pfns, altmap)
    if was_early and empty:
        write_absent_pages(kernel, section, MemmapOrigin.NONE, PageContent.NONE)
    if was_early:
        retire_pages(kernel, pfns)
    if empty:
        usage = SectionFlag.USAGE | SectionFlag.BOOT_USAGE
        table.clear_bits(section, "section_flags", ~usage & 0xFF)
    yield "section_deactivate"


def depopulate_section_memmap(
    kernel: Kernel, pfns: PfnRange, altmap: Altmap | None
) -> None:
    """Free what backs the struct pages of *pfns*.

    A memmap that lives in device memory but is freed without its altmap goes to the
    buddy allocator, which never owned it: counted as a wild free.

    Source: vmemmap_free(), remove_pagetable() in arch/x86/mm/init_64.c.
    """
    origins = kernel.pfns.within(pfns, "memmap")
    if (origins == MemmapOrigin.ALTMAP).any():
        nr_pages = kernel.geometry.memmap_pages_per_section
        if altmap is None:
            kernel.wild_frees += nr_pages
        else:
            altmap.release(nr_pages)
    write_absent_pages(kernel, pfns, MemmapOrigin.NONE, PageContent.NONE)


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
