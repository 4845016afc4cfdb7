"""Device memory gets a memmap: mm/memremap.c."""

from __future__ import annotations

import errno

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import (
    MemoryClass,
    MemoryType,
    RefState,
    SectionFlag,
    ZoneType,
)
from hotplug_model.kernel import Kernel
from hotplug_model.mm.arch_memory import arch_add_memory, arch_memory, arch_remove_memory
from hotplug_model.mm.memory_hotplug import end_altmap
from hotplug_model.mm.page_alloc import (
    init_device_pages,
    memmap_init_zone_device,
    runs_constructor,
)
from hotplug_model.mm.zones import move_pfn_range_to_zone, remove_pfn_range_from_zone
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.dev_pagemap import DevPagemap, has_type, references_of
from hotplug_model.state.faults import Allocation
from hotplug_model.state.ledger import Cause

NO_PGMAP = -1
REQUIRED = {
    MemoryType.MEMORY_DEVICE_PRIVATE: ("migrate_to_ram", "page_free", "owner"),
    MemoryType.MEMORY_DEVICE_COHERENT: ("page_free", "owner"),
}
"""What a driver must fill in, by type."""


def memremap_pages(
    kernel: Kernel, pgmap_id: int, pgmap: DevPagemap, lacks: str = ""
) -> Steps:
    """Map every range of *pgmap* as ZONE_DEVICE; on failure undo those that were mapped.

    *lacks* is what its driver did not fill in: an operation, or ``owner``.

    Refuses with -ENXIO on an architecture without ZONE_DEVICE; with -EINVAL without a range,
    for device-private memory that the kernel was built without, for a type that it does not
    have, and if the driver left out
    what the type requires; with -ENOMEM; and as pagemap_range().

    # Simplified: coherent memory without any operations is not refused but a null pointer
    that is followed.

    Source: memremap_pages(); devm_memremap_pages() in include/linux/memremap.h.
    """
    if not arch_memory(kernel).zone_device:
        raise KernelRefusal(errno.ENXIO)
    private = pgmap.type == MemoryType.MEMORY_DEVICE_PRIVATE
    if not pgmap.ranges or (private and not kernel.layout.device_private):
        raise KernelRefusal(errno.EINVAL)
    if not has_type(kernel.rules, pgmap.type):
        raise KernelRefusal(errno.EINVAL)
    if lacks in REQUIRED.get(pgmap.type, ()):
        raise KernelRefusal(errno.EINVAL)
    kernel.faults.allocate(Allocation.PERCPU_REF)
    pad_to_sections(kernel, pgmap)
    kernel.pgmaps[pgmap_id] = pgmap
    devmap_managed_enable_get(kernel, pgmap)
    yield "percpu_ref_init"
    try:
        for range_id in range(len(pgmap.ranges)):
            yield from pagemap_range(kernel, pgmap_id, range_id)
            pgmap.nr_range += 1
    except KernelRefusal:
        yield from memunmap_pages(kernel, pgmap_id)
        raise


def pad_to_sections(kernel: Kernel, pgmap: DevPagemap) -> None:
    """Before 5.3 a map has all of the sections that its ranges touch.

    # Simplified: what pads it is the map's as the rest is. The kernel gave it a memmap and
    ZONE_DEVICE, and found no map for it. That the altmap reserves what comes before the
    device was up to the driver.

    Source: devm_memremap_pages() in kernel/memremap.c (4.19); commit 7cc7867fb061
    ("mm/devm_memremap_pages: enable sub-section remap") (in v5.3); init_altmap_base() in
    drivers/nvdimm/pfn_devs.c.
    """
    if kernel.rules.memremap_part_of_section != "pads":
        return
    first, size = pgmap.ranges[0], kernel.geometry.pages_per_section
    pgmap.ranges = tuple(pfns.widened(size) for pfns in pgmap.ranges)
    if pgmap.altmap is not None:
        start, end = pgmap.ranges[0].start_pfn, pgmap.ranges[0].end_pfn
        pgmap.altmap.reserve += first.start_pfn - start
        pgmap.altmap.base_pfn, pgmap.altmap.end_pfn = start, end


def devmap_managed_enable_get(kernel: Kernel, pgmap: DevPagemap) -> None:
    """From now on whoever drops a page looks whether it is the driver's to free.

    # Simplified: before 4.17 that was HMM's alone, and pages of pmem were nobody's to free.

    Source: devmap_managed_enable_get() (6.1); commit 27674ef6c73f ("mm: remove the extra
    ZONE_DEVICE struct page refcount") (in v5.18).
    """
    if pgmap.type in kernel.rules.devmap_managed:
        kernel.devmap_managed_key += 1


def devmap_managed_enable_put(kernel: Kernel, pgmap: DevPagemap) -> None:
    """With the last map of this kind nobody looks any more.

    Source: devmap_managed_enable_put() (6.1); commit 46b1ee38b2ba ("mm/mremap_pages: fix
    static key devmap_managed_key updates") (in v5.10), for commit 6f42193fd86e ("memremap: don't
    use a separate devm action for devmap_managed_enable_get") (in v5.4).
    """
    managed = pgmap.type in kernel.rules.devmap_managed
    if managed or not kernel.rules.devmap_managed_put_as_got:
        kernel.devmap_managed_key -= 1


def pagemap_range(kernel: Kernel, pgmap_id: int, range_id: int) -> Steps:
    """Map one range.

    Refuses with -EINVAL for an altmap on any but the first range or beyond what can be
    addressed, -ENOMEM if another live map owns the first or the last pfn, -ENXIO if
    some of it is System RAM, or of its sections unless those may be shared, and as
    arch_add_memory(), whose finished sections then stay.

    Source: pagemap_range().
    """
    pgmap = kernel.pgmaps[pgmap_id]
    pfns = pgmap.ranges[range_id]
    if pgmap.altmap is not None and range_id > 0:
        raise KernelRefusal(errno.EINVAL)
    x = kernel.extents()
    for pfn in (pfns.start_pfn, pfns.end_pfn - 1):
        known = kernel.geometry.all_pfns.contains(PfnRange(pfn, pfn + 1))
        if known and x.dev_pagemap[x.row_at(pfn)] >= 0:
            raise KernelRefusal(errno.ENOMEM)
    shares = kernel.rules.memremap_part_of_section == "maps"
    around = pfns.widened(kernel.geometry.pages_per_section)
    if kernel.iomem.system_ram(pfns if shares else around):
        raise KernelRefusal(errno.ENXIO)

    kernel.faults.allocate(Allocation.PGMAP_ARRAY)
    # Only the ends were looked at: a map inside is overwritten here, and erased on failure.
    kernel.pfns.write(pfns, pgmap_array=pgmap_id)
    yield "pgmap_array_store"
    try:
        if not kernel.geometry.all_pfns.contains(pfns):
            raise KernelRefusal(errno.EINVAL)
        yield from add_device_pages(kernel, pgmap_id, range_id)
        pgmap.nr_added = range_id + 1
    except KernelRefusal:
        kernel.pfns.write(pfns, pgmap_array=NO_PGMAP)
        raise
    yield from memmap_init_zone_device(kernel, pgmap_id, range_id)
    yield "memmap_init_zone_device_done"
    if pgmap.counts_pages:
        pgmap.nr_refs += pgmap.pfn_len(range_id)
    yield "pagemap_range"


def add_device_pages(kernel: Kernel, pgmap_id: int, range_id: int) -> Steps:
    """The part of pagemap_range() under mem_hotplug_lock."""
    pgmap = kernel.pgmaps[pgmap_id]
    pfns = pgmap.ranges[range_id]
    yield from kernel.locks.take("mem_hotplug_lock")
    try:
        yield from arch_add_memory(
            kernel, pfns, pgmap.nid, pgmap.memory_class, pgmap.altmap, pgmap
        )
        for section in map(kernel.geometry.section_pfns, kernel.geometry.sections_of(pfns)):
            if not pfns.contains(section):
                kernel.pfns.set_bits(section, "section_flags", SectionFlag.MET_DEVICE)
        if not kernel.rules.zones_at_add:
            yield from move_pfn_range_to_zone(
                kernel, pfns, pgmap.nid, ZoneType.ZONE_DEVICE, pgmap.altmap
            )
        if runs_constructor(kernel, pgmap):
            init_device_pages(kernel, pgmap_id, range_id)
            yield "constructor"
    finally:
        kernel.locks.drop("mem_hotplug_lock")


def memunmap_pages(kernel: Kernel, pgmap_id: int) -> Steps:
    """Kill the map's reference, wait until it is unused, take its ranges away.

    Never refuses. Who has taken a reference by get_dev_pagemap() delays it.

    Source: memunmap_pages(); commit 50f44ee7248a (in v5.2) for the wait.
    """
    pgmap = kernel.pgmaps[pgmap_id]
    if kernel.rules.memunmap_kills_reference:
        pgmap.ref = RefState.KILLED
        pgmap.nr_refs -= 1
        yield "percpu_ref_kill"
    if pgmap.counts_pages:
        pgmap.nr_refs -= sum(pgmap.pfn_len(i) for i in range(pgmap.nr_range))
    if kernel.rules.memunmap_waits_for_references:
        yield from kernel.locks.drain(references_of(pgmap_id))
    yield "wait_for_completion"
    for range_id in range(pgmap.nr_range):
        yield from pageunmap_range(kernel, pgmap_id, range_id)
    for pfns in pgmap.ranges[:1]:
        end_altmap(kernel, pfns, pgmap.altmap, circumstance(pgmap))
    pgmap.ref = RefState.GONE
    devmap_managed_enable_put(kernel, pgmap)
    del kernel.pgmaps[pgmap_id]
    yield "percpu_ref_exit"


def circumstance(pgmap: DevPagemap) -> Cause:
    """Why the altmap of a map that ends may still hold memmap."""
    if pgmap.nr_range == 0:
        return Cause.UNFINISHED
    private = pgmap.type == MemoryType.MEMORY_DEVICE_PRIVATE
    return Cause.PRIVATE if private else Cause.NONE


def pageunmap_range(kernel: Kernel, pgmap_id: int, range_id: int) -> Steps:
    """Take one range away; the look-up entry goes last.

    Device-private memory is removed without its altmap, though added with it.

    Source: pageunmap_range(); commit eb7d78c9e7f6 ("devm_memremap_pages: fix vmem_altmap
    lifetime + alignment handling") for the order.
    """
    pgmap = kernel.pgmaps[pgmap_id]
    pfns = pgmap.ranges[range_id]
    if not kernel.rules.pgmap_array_deleted_last:
        kernel.pfns.write(pfns, pgmap_array=NO_PGMAP)
    yield from kernel.locks.take("mem_hotplug_lock")
    try:
        yield from remove_pfn_range_from_zone(kernel, pfns, pgmap.nid, ZoneType.ZONE_DEVICE)
        told = kernel.rules.memory_removed_as(pgmap.memory_class)
        private = told == MemoryClass.UNADDRESSABLE
        kernel.ledger.cause = Cause.PRIVATE if private else Cause.NONE
        altmap = None if private else pgmap.altmap
        if not kernel.rules.altmap_is_passed:
            altmap = to_vmem_altmap(kernel, pfns)
        yield from arch_remove_memory(kernel, pfns, pgmap.memory_class, altmap)
    finally:
        kernel.ledger.cause = Cause.NONE
        kernel.locks.drop("mem_hotplug_lock")
    kernel.pfns.write(pfns, pgmap_array=NO_PGMAP)
    yield "pgmap_array_delete"


def to_vmem_altmap(kernel: Kernel, pfns: PfnRange) -> Altmap | None:
    """The altmap that holds the memmap of *pfns*, if the map that has it can be looked up.

    # Simplified: it is looked up once a range, not for each page that is freed.

    Source: to_vmem_altmap(), kernel/memremap.c (4.15).
    """
    pgmap = kernel.pgmaps.get(kernel.pfns.at(pfns.start_pfn, "pgmap_array"))
    return pgmap.altmap if pgmap is not None else None
