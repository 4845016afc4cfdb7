"""How requests that name ranges or pages are to be answered: devices, regions, balloons."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from hotplug_model.errors import EHWPOISON
from hotplug_model.flags import MemoryType, PageFlag, RefState, ZoneType
from hotplug_model.invariants.answer import Answer, Arguments, within
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange
from hotplug_model.state.dev_pagemap import DevPagemap
from hotplug_model.state.resource import Resource

TYPES_WITHOUT_A_DRIVER = (
    MemoryType.MEMORY_DEVICE_GENERIC, MemoryType.MEMORY_DEVICE_PCI_P2PDMA,
)  # fmt: skip
"""Device memory, other than fs-dax, that breaks without its driver being asked."""
WITHOUT_ZONE_DEVICE = ("ia64", "sh", "tile", "x86_32")
"""Architectures that never had CONFIG_ZONE_DEVICE."""

# Device memory


def why_not_map(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """The map exists, has no ranges, or an altmap for several, or is of a type that the kernel
    does not have; or it wants what is System RAM, has a memmap, or is not made of subsections:
    of sections without SPARSEMEM_VMEMMAP. Before v5.3 it is made of sections whatever it
    wants."""
    if asked["pgmap_id"] in kernel.pgmaps:
        yield errno.EBUSY
    odd = asked["altmap"] and len(asked["ranges"]) > 1
    if not asked["ranges"] or odd or asked["type"] in types_unknown(kernel):
        yield errno.EINVAL
    for pfns in asked["ranges"]:
        got = pfns.widened(kernel.geometry.pages_per_section) if pads(kernel) else pfns
        if kernel.iomem.system_ram(got):
            yield errno.ENXIO
        if kernel.pfns.within(got, "subsection").any():
            yield from (errno.EEXIST, errno.ENOMEM)
        if not kernel.geometry.all_pfns.contains(got) or not got.is_aligned(unit(kernel)):
            yield errno.EINVAL


def unit(kernel: Kernel) -> int:
    """Pages that sections are made of, as far as maps are concerned."""
    sizes, vmemmap = kernel.geometry, kernel.layout.sparsemem_vmemmap
    return sizes.pages_per_subsection if vmemmap else sizes.pages_per_section


def pads(kernel: Kernel) -> bool:
    """Whether maps are extended to whole sections, as they were before v5.3."""
    return kernel.rules.memremap_part_of_section == "pads"


def why_refuse_to_map(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """The same; ranges that want the same pages, sections that may not be shared, what a
    driver left out, an altmap that is too small or too large, no ZONE_DEVICE, and on s390
    what would not be mapped as RAM."""
    yield from why_not_map(kernel, asked)
    ranges = asked["ranges"]
    for number, pfns in enumerate(ranges):
        around = pfns.widened(kernel.geometry.pages_per_section)
        shares = kernel.rules.memremap_part_of_section == "maps"
        if kernel.iomem.system_ram(around) and not shares:
            yield errno.ENXIO
        if any(around.overlaps(other) for other in ranges[:number]):
            yield from (errno.EEXIST, errno.ENOMEM)
        got = around if pads(kernel) else pfns
        if (kernel.pfns.within(got, "pgmap_array") >= 0).any():
            yield errno.ENOMEM
        if not number and sum(asked["altmap"]) > pfns.nr_pages:
            yield errno.EINVAL
    if asked["altmap"]:
        yield errno.ENOMEM
    if asked["lacks"] or asked["type"] in types_refused(kernel):
        yield errno.EINVAL
    if lacks_zone_device(kernel):
        yield errno.ENXIO


def lacks_zone_device(kernel: Kernel) -> bool:
    """Whether the kernel is built without: powerpc is before v4.13, arm64 before v5.7, s390
    before v6.17."""
    arch = kernel.geometry.arch
    powerpc = arch == "powerpc" and not kernel.rules.powerpc_has_zone_device
    s390 = arch == "s390" and not kernel.rules.s390_has_zone_device
    return arch in WITHOUT_ZONE_DEVICE or powerpc or s390 or not kernel.memory_hotremove


def types_unknown(kernel: Kernel) -> Iterator[str]:
    """Types of memory that the kernel does not have."""
    rules = kernel.rules
    if not (rules.device_private and kernel.layout.device_private):
        yield "private"
    if not rules.device_public:
        yield "public"
    if not rules.device_p2pdma:
        yield "pci_p2pdma"
    if not rules.device_coherent:
        yield "coherent"


def types_refused(kernel: Kernel) -> Iterator[str]:
    """The same, and those that it cannot map as it has to."""
    yield from types_unknown(kernel)
    if not kernel.rules.takes_unaddressable_memory:
        yield "private"
    if kernel.geometry.arch == "s390":
        yield "pci_p2pdma"


def not_mapped(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """Pages that do not belong to the map, or that belong to another zone, but for those
    that an altmap keeps; a map that is not live."""
    pgmap, x = kernel.pgmaps.get(asked["pgmap_id"]), kernel.extents()
    own = (x.pgmap_array == asked["pgmap_id"]) & x.subsection & x.pfn_valid
    for number, pfns in enumerate(asked["ranges"]):
        kept = 0 if number else sum(asked["altmap"])
        yield from within(x, pfns, ~own)
        data = PfnRange(pfns.start_pfn + kept, pfns.end_pfn)
        yield from within(x, data, x.initialised & ~x.is_zone_device)
        if pgmap is None or pgmap.ref != RefState.LIVE:
            yield pfns


def why_not_unmap(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """There is no such map. Nothing else can be an answer: the kernel returns none."""
    if asked["pgmap_id"] not in kernel.pgmaps:
        yield errno.ENOENT


def not_unmapped(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """Pages that are found to be the map's, and the map itself."""
    x = kernel.extents()
    yield from x.where(x.pgmap_array == asked["pgmap_id"])
    if asked["pgmap_id"] in kernel.pgmaps:
        yield kernel.geometry.all_pfns


# Single pages, and regions of drivers


def why_not_request(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """A busy region overlaps, or there is nothing to claim."""
    if asked["pfns"].nr_pages <= 0 or kernel.iomem.is_claimed(asked["pfns"]):
        yield errno.EBUSY


def why_refuse_to_request(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """The same; a region that is not busy overlaps in part; what cannot be addressed."""
    yield from why_not_request(kernel, asked)
    inside = kernel.iomem.pfns.contains(asked["pfns"])
    if not inside or any(each.pfns.overlaps(asked["pfns"]) for each in kernel.iomem.children):
        yield errno.EBUSY


def not_requested(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """A region that iomem does not list."""
    if not kernel.iomem.is_claimed(asked["pfns"]):
        yield asked["pfns"]


def exactly(region: Resource, pfns: PfnRange) -> bool:
    """Whether a region below *region* is busy and exactly *pfns*."""
    return any(
        (each.busy and each.pfns == pfns) or exactly(each, pfns) for each in region.children
    )


def why_not_release(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """There is no such region, or it is RAM."""
    if not exactly(kernel.iomem, asked["pfns"]) or kernel.iomem.system_ram(asked["pfns"]):
        yield errno.ENOENT


def not_released(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """A region that iomem still lists."""
    if exactly(kernel.iomem, asked["pfns"]):
        yield asked["pfns"]


def why_not_allocate(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """A page that the buddy allocator does not have to give."""
    flags = kernel.pfns.within(asked["pfns"], "page_flags")
    if (flags != PageFlag.MANAGED).any() or kernel.pfns.within(asked["pfns"], "refcount").any():
        yield errno.EBUSY


def why_not_balloon(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """The same; one of ZONE_MOVABLE, for what a balloon has cannot be moved."""
    yield from why_not_allocate(kernel, asked)
    if (kernel.pfns.within(asked["pfns"], "zone") == ZoneType.ZONE_MOVABLE).any():
        yield errno.EBUSY


def not_ballooned(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """Pages that the allocator may give away, or that do not say that they are offline."""
    x = kernel.extents()
    marked = x.page_has(PageFlag.PG_offline)
    yield from within(x, asked["pfns"], x.is_managed | ~marked | (x.refcount == 0))


def why_not_deflate(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """A page that is in no balloon."""
    flags = kernel.pfns.within(asked["pfns"], "page_flags")
    if (flags & PageFlag.PG_offline == 0).any():
        yield errno.EINVAL


def why_refuse_to_deflate(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """The same; a page that another driver keeps."""
    yield from why_not_deflate(kernel, asked)
    if kernel.lender is not None:
        yield errno.EINVAL


def not_deflated(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """Pages that the allocator does not have, or that still say that they are offline."""
    x = kernel.extents()
    marked = x.page_has(PageFlag.PG_offline)
    yield from within(x, asked["pfns"], ~x.is_managed | marked | (x.refcount > 0))


def why_not_break(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """A page of RAM that broke before, or is part of a huge page; one that nobody has set up; one
    of a device that no file has, or whose driver would have to be asked."""
    x = kernel.extents()
    row = x.row_at(asked["pfn"])
    if x.is_online_ram[row] and x.page_flags[row] & PageFlag.PG_hwpoison:
        yield EHWPOISON
    if x.is_online_ram[row] and x.page_flags[row] & PageFlag.HUGETLB:
        yield errno.EBUSY
    if not x.online_page[row]:
        pgmap = kernel.pgmaps.get(int(x.dev_pagemap[row]))
        if pgmap is None or not is_data(pgmap, asked["pfn"]):
            yield errno.ENXIO
        elif not asked["mapped"]:
            yield errno.EBUSY
        elif pgmap.type not in (MemoryType.MEMORY_DEVICE_FS_DAX, *TYPES_WITHOUT_A_DRIVER):
            yield errno.ENXIO


def is_data(pgmap: DevPagemap, pfn: int) -> bool:
    """Whether *pfn* is of what a map has mapped, and does not hold its memmap."""
    ranges = range(pgmap.nr_range)
    return any(pgmap.pfn_first(i) <= pfn < pgmap.ranges[i].end_pfn for i in ranges)


def not_broken(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """A page without PG_hwpoison, of a compound page of a device the first; one of RAM that
    its memory block does not count."""
    page, x = PfnRange(asked["pfn"], asked["pfn"] + 1), kernel.extents()
    row = x.row_at(page.start_pfn)
    pgmap = kernel.pgmaps.get(int(x.dev_pagemap[row]))
    if pgmap is not None:
        head = x.row_at(page.start_pfn // pgmap.vmemmap_nr * pgmap.vmemmap_nr)
        if not x.page_flags[head] & PageFlag.PG_hwpoison:
            yield page
    if not x.is_online_ram[row]:
        return
    (block_id,) = kernel.block_ids(page)
    counted = kernel.blocks[block_id].broken if block_id in kernel.blocks else ()
    at = page.start_pfn - kernel.block_pfns(block_id).start_pfn
    if not x.page_flags[row] & PageFlag.PG_hwpoison or at not in counted:
        yield page


def why_not_pool(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """It is no huge page, or the buddy allocator does not have all of it."""
    pfns = asked["pfns"]
    if pfns.nr_pages not in kernel.geometry.hugetlb_sizes or pfns.start_pfn % pfns.nr_pages:
        yield errno.EINVAL
    zones = kernel.pfns.within(pfns, "zone")
    if any(why_not_allocate(kernel, asked)) or (zones != zones[:1]).any():
        yield errno.ENOMEM


def not_pooled(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """Pages that are in no huge page."""
    x = kernel.extents()
    yield from within(x, asked["pfns"], ~x.page_has(PageFlag.HUGETLB))
    if asked["pfns"] not in kernel.hugetlb:
        yield asked["pfns"]


def why_not_free(kernel: Kernel, asked: Arguments) -> Iterator[int]:
    """There is no such huge page."""
    if asked["pfns"] not in kernel.hugetlb:
        yield errno.EINVAL


def not_freed(before: Kernel, kernel: Kernel, asked: Arguments) -> Iterator[PfnRange]:
    """Pages that the buddy allocator does not have."""
    x = kernel.extents()
    yield from within(x, asked["pfns"], x.page_flags != PageFlag.MANAGED)


ANSWERS_OF_PAGES: dict[str, Answer] = {
    "memremap_pages": Answer(why_refuse_to_map, why_not_map, not_mapped),
    "memunmap_pages": Answer(why_not_unmap, why_not_unmap, not_unmapped),
    "request_mem_region": Answer(why_refuse_to_request, why_not_request, not_requested),
    "release_mem_region": Answer(why_not_release, why_not_release, not_released),
    "decrease_reservation": Answer(why_not_balloon, why_not_balloon, not_ballooned),
    "increase_reservation": Answer(why_refuse_to_deflate, why_not_deflate, not_deflated),
    "alloc_pool_huge_folio": Answer(why_not_pool, why_not_pool, not_pooled),
    "update_and_free_hugetlb_folio": Answer(why_not_free, why_not_free, not_freed),
    "hard_offline_page": Answer(why_not_break, why_not_break, not_broken),
}
"""Operation -> how it is answered."""
