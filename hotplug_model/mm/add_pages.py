"""Making pfns valid and taking them away again: the lower half of mm/memory_hotplug.c."""

from __future__ import annotations

import errno

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import SectionFlag
from hotplug_model.kernel import Kernel
from hotplug_model.mm.base_memory import hotplug_memory_register
from hotplug_model.mm.memory_failure import clear_hwpoisoned_pages
from hotplug_model.mm.sparse import section_deactivate, sparse_add_section
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.dev_pagemap import DevPagemap


def add_pages(
    kernel: Kernel,
    pfns: PfnRange,
    nid: int,
    altmap: Altmap | None,
    pgmap: DevPagemap | None = None,
) -> Steps:
    """Make *pfns* valid, a section at a time.

    Refuses with -E2BIG, with -EINVAL for an altmap that does not belong to the start of
    *pfns* or is larger, or if not aligned as check_pfn_span() wants; and with what
    sparse_add_section() and, before 5.3, whose sections bring their memory blocks, with what
    hotplug_memory_register() refuses with. Sections that were added before the failing one
    stay: mainline does not unwind them.

    Source: __add_pages(), check_pfn_span().
    """
    if not kernel.geometry.all_pfns.contains(pfns):
        raise KernelRefusal(errno.E2BIG)
    if altmap is not None:
        if altmap.base_pfn != pfns.start_pfn or altmap.offset > pfns.nr_pages:
            raise KernelRefusal(errno.EINVAL)
        altmap.alloc = 0
    if not pfns.is_aligned(span_alignment(kernel)):
        raise KernelRefusal(errno.EINVAL)
    for part in kernel.geometry.section_chunks(pfns):
        yield from sparse_add_section(kernel, part, altmap, pgmap)
        if pgmap is None and kernel.rules.sections_bring_blocks:
            yield from hotplug_memory_register(kernel, part, nid, altmap)


def span_alignment(kernel: Kernel) -> int:
    """What check_pfn_span() wants: subsections, or sections without SPARSEMEM_VMEMMAP."""
    vmemmap = kernel.layout.sparsemem_vmemmap
    geometry = kernel.geometry
    return geometry.pages_per_subsection if vmemmap else geometry.pages_per_section


def remove_pages(kernel: Kernel, pfns: PfnRange, altmap: Altmap | None) -> Steps:
    """Take *pfns* out of their sections; a misaligned range is only warned about.

    Source: __remove_pages(), sparse_remove_section().
    """
    if not pfns.is_aligned(span_alignment(kernel)):
        return
    for part in kernel.geometry.section_chunks(pfns):
        if kernel.pfns.at(part.start_pfn, "section_flags") & SectionFlag.HAS_MEM_MAP:
            if not kernel.rules.blocks_take_off_broken_pages:
                clear_hwpoisoned_pages(kernel, part)
            yield from section_deactivate(kernel, part, altmap)
