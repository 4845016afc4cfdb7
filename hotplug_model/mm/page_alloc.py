"""Initialising struct pages: mm/page_alloc.c, mm/mm_init.c since 6.5."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import numpy as np

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import (
    BlockState,
    PageContent,
    PageFlag,
    PageUser,
    SectionFlag,
    ZoneType,
)
from hotplug_model.kernel import Kernel
from hotplug_model.mm.vmemmap_can_optimize import vmemmap_can_optimize
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.dev_pagemap import DevPagemap
from hotplug_model.state.ledger import Cause, Law
from hotplug_model.state.vmemmap import VMEMMAP_RESERVE_NR

NO_PGMAP = -1
PCPLIST = "a list of free pages"
"""What somebody has decided for who frees a page that is not isolated."""


def page_init_poison(kernel: Kernel, pfns: PfnRange) -> None:
    """Overwrite the struct pages of *pfns*, if the kernel was built and told to.

    Source: page_init_poison(), mm/debug.c; CONFIG_DEBUG_VM and vm_debug=p.
    """
    if kernel.layout.page_poisoning:
        kernel.pfns.write(
            pfns,
            content=PageContent.POISONED,
            zone=0, nid=0, page_flags=0, refcount=0, page_pgmap=NO_PGMAP,
        )  # fmt: skip


def retire_pages(kernel: Kernel, pfns: PfnRange) -> None:
    """What initialised struct pages of *pfns* said is from now on nobody's word."""
    runs = kernel.pfns.cut(pfns)
    content = kernel.pfns.column("content")[runs].copy()
    content[content == PageContent.INITIALISED] = PageContent.STALE
    kernel.pfns.assign(pfns, "content", content)


def memmap_init_range(
    kernel: Kernel, pfns: PfnRange, nid: int, zone: ZoneType, altmap: Altmap | None
) -> None:
    """Initialise the struct pages of *pfns* as hotplug does: count 1, not yet online.

    Of a ZONE_DEVICE range only the pages behind ``reserve`` that hold memmap are
    initialised here; the data pages follow outside the lock.

    Source: memmap_init_range() with MEMINIT_HOTPLUG; commit 966cf44f637e ("mm: defer
    ZONE_DEVICE page initialization to the point where we init pgmap") (in v4.20);
    commit 503b158fc30f (in v6.11) for what marks System RAM.
    """
    if zone == ZoneType.ZONE_DEVICE:
        pfns = initialised_under_lock(kernel, pfns, altmap)
    device = zone == ZoneType.ZONE_DEVICE
    kernel.pfns.write(
        pfns,
        content=PageContent.INITIALISED,
        zone=zone,
        nid=nid,
        page_flags=kernel.rules.zone_device_flag if device else kernel.rules.hotplugged_ram_flag,
        refcount=1,
        page_pgmap=NO_PGMAP,
    )
    if not device and not kernel.rules.offline_rejects_holes:
        kernel.pfns.set_bits(pfns, "page_flags", PageFlag.HOLE)
        for part in kernel.iomem.walk_system_ram_range(pfns):
            kernel.pfns.clear_bits(part, "page_flags", PageFlag.HOLE)


def initialised_under_lock(kernel: Kernel, pfns: PfnRange, altmap: Altmap | None) -> PfnRange:
    """The pages of a ZONE_DEVICE range that memmap_init_range() initialises; maybe none."""
    rule = kernel.rules.zone_device_init
    whole = rule == "under_lock" or (rule == "constructor" and altmap is None)
    if altmap is None:
        return pfns if whole else PfnRange(pfns.start_pfn, pfns.start_pfn)
    first = pfns.start_pfn
    if first == altmap.base_pfn:
        first += altmap.reserve
    end = pfns.end_pfn if whole else min(pfns.end_pfn, altmap.base_pfn + altmap.offset)
    return PfnRange(first, end)


def runs_constructor(kernel: Kernel, pgmap: DevPagemap) -> bool:
    """Whether the altmap of *pgmap* brings a constructor, so that nothing is left to defer."""
    return kernel.rules.zone_device_init == "constructor" and pgmap.altmap is not None


def memmap_init_zone_device(kernel: Kernel, pgmap_id: int, range_id: int) -> Steps:
    """Initialise the data pages of a device range, without any lock.

    Source: memmap_init_zone_device().
    """
    yield "memmap_init_zone_device"
    if not runs_constructor(kernel, kernel.pgmaps[pgmap_id]):
        init_device_pages(kernel, pgmap_id, range_id)


def init_device_pages(kernel: Kernel, pgmap_id: int, range_id: int) -> None:
    """Write the struct pages of the data of a device range, with their map."""
    pgmap = kernel.pgmaps[pgmap_id]
    for pfns in pages_to_initialise(kernel, pgmap, range_id):
        kernel.pfns.write(
            pfns,
            content=PageContent.INITIALISED,
            zone=ZoneType.ZONE_DEVICE,
            nid=pgmap.nid,
            page_flags=kernel.rules.zone_device_flag,
            refcount=pgmap.idle_ref(kernel.rules),
            page_pgmap=pgmap_id,
        )
        if not kernel.rules.device_pageblocks_all_typed:
            leave_untyped(kernel, pfns, pgmap)


def leave_untyped(kernel: Kernel, pfns: PfnRange, pgmap: DevPagemap) -> None:
    """Of each compound page among *pfns* only the first pageblock got a migratetype.

    # Simplified: a hole of a boot section has kept none of boot's.

    Source: memmap_init_zone_device(), which visited heads only; "mm/mm_init: fix pageblock
    migratetype for ZONE_DEVICE compound pages".
    """
    typed = kernel.geometry.pageblock_nr_pages
    for head in range(pfns.start_pfn, pfns.end_pfn, max(pgmap.vmemmap_nr, typed)):
        rest = PfnRange(head + typed, min(head + pgmap.vmemmap_nr, pfns.end_pfn))
        if rest.nr_pages > 0:
            kernel.pfns.set_bits(rest, "page_flags", PageFlag.UNTYPED)


def pages_to_initialise(
    kernel: Kernel, pgmap: DevPagemap, range_id: int
) -> Iterator[PfnRange]:
    """The data pages whose struct pages are written; the aliases of others follow.

    # Simplified: which pages of a compound page are tails is not modelled, so of a
    deduplicated one all are written, as the aliases make it look.

    Source: compound_nr_pages(); commit cd681403a870 ("mm/mm_init: fix uninitialized
    struct pages for ZONE_DEVICE") for compound pages in early sections.
    """
    pfns = PfnRange(pgmap.pfn_first(range_id), pgmap.ranges[range_id].end_pfn)
    shortens = vmemmap_can_optimize(kernel, pgmap.altmap, pgmap)
    if kernel.rules.dedup_initialises_early_sections or not shortens:
        yield pfns
        return
    written = VMEMMAP_RESERVE_NR * kernel.geometry.page_bytes // kernel.geometry.struct_page_bytes
    for part in kernel.geometry.section_chunks(pfns):
        if not kernel.pfns.at(part.start_pfn, "section_flags") & SectionFlag.IS_EARLY:
            yield part
            continue
        for head in range(part.start_pfn, part.end_pfn, pgmap.vmemmap_nr):
            yield PfnRange(head, min(head + written, part.end_pfn))


def generic_online_page(kernel: Kernel, pfns: PfnRange) -> None:
    """Hand *pfns* to the buddy allocator: count 0, neither reserved nor offline, managed.

    Source: generic_online_page(), __free_pages_core().
    """
    init_page_count(kernel, pfns)
    free(kernel, pfns)
    adjust_managed_page_count(kernel, pfns.start_pfn, pfns.nr_pages)


def free(kernel: Kernel, pfns: PfnRange) -> None:
    """The buddy allocator has *pfns*. A broken page stays marked, so nobody is given it, and
    a hole stays one, whatever was freed.

    Source: free_pages_prepare(), check_new_page().
    """
    kernel.pfns.clear_bits(pfns, "page_flags", ~int(PageFlag.PG_hwpoison | PageFlag.HOLE))
    kernel.pfns.set_bits(pfns, "page_flags", PageFlag.MANAGED)


def is_isolated(kernel: Kernel, pfns: PfnRange) -> bool:
    """Whether the pageblocks of *pfns* are MIGRATE_ISOLATE: their memory block goes offline.

    # Simplified: isolated is what alloc_contig_range() takes as well, but in no time.
    """
    states = kernel.pfns.within(pfns, "block")
    return bool((states == BlockState.MEM_GOING_OFFLINE).any())


def free_unref_page(kernel: Kernel, pfns: PfnRange) -> None:
    """Free *pfns*, which were not isolated when that was asked, to a list of this CPU: no place
    for what is isolated by now.

    # Simplified: whatever else lies there gets to the buddy allocator before anybody minds.

    Source: free_unref_page(), mm/page_alloc.c; commit 968318261221 ("mm/memory_hotplug: drain
    per-cpu pages again during memory offline") (in v5.9). Since v5.11 there are no such lists
    while memory goes offline.
    """
    if is_isolated(kernel, pfns) and not kernel.rules.offlining_drains_again:
        kernel.pfns.set_bits(pfns, "page_flags", PageFlag.PARKED)


def init_page_count(kernel: Kernel, pfns: PfnRange) -> None:
    """Set the count of *pfns* anew, whoever has a reference on one of them, to be freed: 0.

    Source: __free_pages_core(); free_reserved_page(), include/linux/mm.h.
    """
    if kernel.pfns.within(pfns, "users").any() or (kernel.pfns.within(pfns, "refcount") > 1).any():
        x = kernel.extents()
        here = x.touched([pfns])
        held, by_kvm = here & (x.nr_references > 0), (x.users & PageUser.KVM) != 0
        # The allocation itself is one.
        for_now = here & (x.refcount > 1 + x.nr_references)
        for rows, cause in (
            (held & by_kvm, Cause.SET_ANEW), (held & ~by_kvm, Cause.NONE),
            (for_now, Cause.SET_ANEW_UNDER_A_WALKER),
        ):  # fmt: skip
            for pages in x.where(rows):
                kernel.ledger.breach(Law.MISCOUNTED, pages.intersection(pfns), cause)
    kernel.pfns.write(pfns, refcount=0)


def adjust_managed_page_count(kernel: Kernel, pfn: int, count: int) -> None:
    """Let the zone of the page at *pfn* manage *count* pages more."""
    nid, zone = kernel.pfns.at(pfn, "nid"), ZoneType(kernel.pfns.at(pfn, "zone"))
    kernel.zone(nid, zone).managed_pages += count


def alloc_contig_range(kernel: Kernel, pfns: PfnRange) -> None:
    """Allocate the very pages of *pfns*. Refuses with -EBUSY if one is not to be had.

    # Simplified: what is in use by an allocation that can be moved counts as free.

    Source: alloc_contig_range().
    """
    if not is_free(kernel, pfns):
        raise KernelRefusal(errno.EBUSY)
    kernel.pfns.write(pfns, refcount=1)


def is_free(kernel: Kernel, pfns: PfnRange) -> bool:
    """Whether the buddy allocator has all of *pfns* to give: what goes online or offline is
    isolated.

    # Simplified: what goes online is so until its block says MEM_ONLINE, a few steps longer.

    Source: pfn_range_valid_contig(), mm/page_alloc.c; start_isolate_page_range() in
    offline_pages() and, for what goes online, MIGRATE_ISOLATE in online_pages(),
    mm/memory_hotplug.c.
    """
    if (kernel.pfns.within(pfns, "block") != BlockState.MEM_ONLINE).any():
        return False
    flags, refs = kernel.pfns.within(pfns, "page_flags"), kernel.pfns.within(pfns, "refcount")
    return bool((flags == PageFlag.MANAGED).all() and not refs.any())


def free_contig_range(kernel: Kernel, pfns: PfnRange) -> None:
    """Give pages back that alloc_contig_range() took. Who has a reference on one of them
    keeps it, and the page.

    Source: free_contig_range().
    """
    kernel.pfns.add(pfns, "refcount", -1)
    free(kernel, pfns)


def free_reserved_page(kernel: Kernel, pfns: PfnRange) -> None:
    """Give pages to the allocator that it may never have had.

    Source: free_reserved_page(), include/linux/mm.h; the caller counts what is managed.
    """
    init_page_count(kernel, pfns)
    free(kernel, pfns)


def offline_isolated_pages(kernel: Kernel, pfns: PfnRange) -> int:
    """Take *pfns* out of the buddy allocator for good; how many of them it had managed, as
    far as the kernel can tell.

    Source: __offline_isolated_pages(); commit 503b158fc30f's series (in v6.11).
    """
    flags, lengths = kernel.pfns.within(pfns, "page_flags"), kernel.pfns.lengths(pfns)
    away, broken = ((flags & bit) != 0 for bit in (PageFlag.PG_offline, PageFlag.PG_hwpoison))
    kernel.pfns.clear_bits(pfns, "page_flags", PageFlag.MANAGED)
    if not kernel.rules.offline_skips_page_offline:
        return pfns.nr_pages
    # A broken page is passed over before anybody asks whether it is offline.
    zone = kernel.pfns.at(pfns.start_pfn, "nid"), kernel.pfns.at(pfns.start_pfn, "zone")
    ends = pfns.start_pfn + lengths.cumsum()
    for row in np.flatnonzero(away & broken).tolist():
        end, nr_pages = int(ends[row]), int(lengths[row])
        kernel.ledger.uncounted[zone] += nr_pages
        kernel.ledger.breach(Law.SUBTRACTED_TWICE, PfnRange(end - nr_pages, end), Cause.BROKEN)
    return pfns.nr_pages - int(lengths[away & ~broken].sum())
