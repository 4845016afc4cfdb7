"""vmemmap on powerpc with the hash MMU: arch/powerpc/mm/init_64.c.

One mapping, 16 MiB, describes many sections. Whether it is in use the section map says.
"""

from __future__ import annotations

import errno

from hotplug_model.errors import KernelRefusal
from hotplug_model.kernel import Kernel
from hotplug_model.mm.sparse_vmemmap import (
    OWN_MEMORY,
    described_and_valid,
    free_pages,
    note_shared,
    take_huge_page,
)
from hotplug_model.pfn import PfnRange
from hotplug_model.state.altmap import Altmap


def vmemmap_populate(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Map the huge regions that hold *pages*, unless one of their pfns is valid already.

    *altmap* gives memory only if its device owns everything that the mapping describes,
    and if it has no room the buddy allocator does. Refuses with -ENOMEM.

    Source: vmemmap_populate(), altmap_cross_boundary(); commit cf387d9644d8
    ("libnvdimm/altmap: Track namespace boundaries in altmap") (in v5.4).
    """
    for region in kernel.geometry.huge_regions(pages):
        if vmemmap_populated(kernel, region):
            note_shared(kernel, region)
            continue
        mine = altmap is not None and not altmap_cross_boundary(kernel, altmap, region)
        if mine and take_huge_page(kernel, region, altmap):
            continue
        if not take_huge_page(kernel, region, None):
            raise KernelRefusal(errno.ENOMEM)


def vmemmap_populated(kernel: Kernel, region: PfnRange) -> bool:
    """Whether a pfn that the mapping describes is valid, so that the mapping exists.

    The bits of the subsections that are being added are set before it is asked, but
    count only in a section that is valid already, whose mapping is there.
    """
    return described_and_valid(kernel, region) is not None and bool(
        kernel.vmemmap.at(region.start_pfn, "level")
    )


def altmap_cross_boundary(kernel: Kernel, altmap: Altmap, region: PfnRange) -> bool:
    """Whether the mapping describes more than the altmap's device."""
    if not kernel.rules.powerpc_altmap_keeps_its_bounds:
        return False
    device = PfnRange(altmap.base_pfn, altmap.end_pfn)
    return not device.contains(kernel.geometry.described_by(region))


def vmemmap_free(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Free the mappings that hold *pages* and describe no valid pfn any more.

    Memory that lies in the altmap goes back to it, all other to the buddy allocator.

    Source: vmemmap_free().
    """
    for region in kernel.geometry.huge_regions(pages):
        mapped = kernel.vmemmap.runs_of(region)
        if not mapped or described_and_valid(kernel, region) is not None:
            continue
        _, row = mapped[0]
        frame = region.start_pfn + row["offset"]
        mine = altmap is not None and row["origin"] in OWN_MEMORY and altmap.owns(frame)
        free_pages(kernel, region, altmap if mine else None)
