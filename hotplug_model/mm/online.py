"""Onlining and offlining pages: the middle of mm/memory_hotplug.c."""

from __future__ import annotations

import errno

import numpy as np
from numpy.typing import NDArray

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import NotifierAction, PageFlag, PageUser, SectionFlag, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.mm.hugetlb import dissolve_free_hugetlb_folios
from hotplug_model.mm.hv_balloon import hv_online_page
from hotplug_model.mm.page_alloc import (
    adjust_managed_page_count,
    generic_online_page,
    offline_isolated_pages,
)
from hotplug_model.mm.sparse import offline_mem_sections, online_mem_sections
from hotplug_model.mm.xen_balloon import xen_online_page
from hotplug_model.mm.zones import (
    adjust_present_page_count,
    move_pfn_range_to_zone,
    remove_pfn_range_from_zone,
)
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.faults import Allocation
from hotplug_model.state.ledger import Law
from hotplug_model.state.locks import zone_lock
from hotplug_model.state.rcu import page_ext_of

BUILT_IN = {"": generic_online_page, "xen": xen_online_page, "hyper-v": hv_online_page}
"""``online_page_callback`` from boot on, by hypervisor."""


def memory_notify(kernel: Kernel, action: NotifierAction, pfns: PfnRange) -> None:
    """Tell the memory notifiers. Refuses with -EPERM if one of them vetoes, and with
    -ENOMEM if one cannot allocate what it needs.

    On arm64 memory that dates from boot never goes offline.

    Source: memory_notify(); page_ext_callback() in mm/page_ext.c;
    prevent_bootmem_remove_notifier() in arch/arm64/mm/mmu.c.
    """
    kernel.notified.append((action, pfns))
    if action in (NotifierAction.MEM_GOING_ONLINE, NotifierAction.MEM_GOING_OFFLINE):
        kernel.faults.allocate(Allocation.NOTIFIER)
    if action == NotifierAction.MEM_GOING_OFFLINE and kernel.geometry.arch == "arm64":
        flags = kernel.pfns.within(pfns, "section_flags")
        if (flags & SectionFlag.IS_EARLY).any():
            raise KernelRefusal(errno.EPERM)
    if kernel.callbacks.memory_notifier is not None:
        kernel.callbacks.memory_notifier(kernel, action, pfns)
    if action in kernel.vetoes:
        raise KernelRefusal(errno.EPERM)


def offline_page_ext(kernel: Kernel, pfns: PfnRange) -> Steps:
    """Free what page_ext keeps of *pfns*, behind a grace period.

    Source: offline_page_ext(), called by page_ext_callback() in mm/page_ext.c; commit
    b1d5488a252d (in v6.1) for the grace period.
    """
    if kernel.rules.page_ext_freed_by_rcu:
        yield from kernel.rcu.synchronize_rcu(kernel.locks)
    for section_nr in kernel.geometry.sections_of(pfns):
        kernel.rcu.free(page_ext_of(section_nr))


def online_pages(kernel: Kernel, pfns: PfnRange, nid: int, zone_type: ZoneType) -> Steps:
    """Give *pfns* to a zone and its pages to the buddy allocator.

    Refuses with the errno of a notifier that vetoes, and then takes the pages back.

    Source: online_pages().
    """
    if not kernel.rules.zones_at_add:
        yield from move_pfn_range_to_zone(kernel, pfns, nid, zone_type, None)
    try:
        memory_notify(kernel, NotifierAction.MEM_GOING_ONLINE, pfns)
    except KernelRefusal:
        memory_notify(kernel, NotifierAction.MEM_CANCEL_ONLINE, pfns)
        yield from offline_page_ext(kernel, pfns)
        if kernel.rules.remove_pfn_range_from_zone_at_offline:
            yield from remove_pfn_range_from_zone(kernel, pfns, nid, zone_type)
        raise
    yield "MEM_GOING_ONLINE"
    # Chunks go to the allocator before the section says online: see online_pages_range().
    online_page = kernel.callbacks.online_page or BUILT_IN[kernel.layout.hypervisor]
    ram = present(kernel, pfns, kernel.rules.onlining_walks_system_ram)
    for part in ram:
        online_page(kernel, part)
    yield "generic_online_page"
    online_mem_sections(kernel, pfns)
    yield "online_mem_sections"
    rebuilds = not kernel.zone(nid, zone_type).present_pages
    adjust_present_page_count(kernel, nid, zone_type, sum(part.nr_pages for part in ram))
    kernel.nodes[nid].n_memory = 1
    if rebuilds:
        kernel.nodes.build_all_zonelists()
    yield "adjust_present_page_count"
    memory_notify(kernel, NotifierAction.MEM_ONLINE, pfns)


def present(kernel: Kernel, pfns: PfnRange, walks: bool) -> list[PfnRange]:
    """What of *pfns* is handed to the buddy allocator, or taken back, and counted: all of it,
    unless the kernel *walks* what is System RAM.

    Source: walk_system_ram_range() in online_pages() and __offline_pages() (5.9).
    """
    return kernel.iomem.walk_system_ram_range(pfns) if walks else [pfns]


def offline_pages(
    kernel: Kernel, pfns: PfnRange, nid: int, zone_type: ZoneType, unmovable: bool
) -> Steps:
    """Take *pfns* out of the buddy allocator and out of their zone.

    Refuses with -EBUSY if a page cannot be isolated (*unmovable*, or has_unmovable_pages())
    and with what its notifiers and scan_movable_pages() refuse with; with -ENOMEM if a huge page
    of the pool cannot be dissolved; with -EINVAL without CONFIG_MEMORY_HOTREMOVE, as arm64 was
    before v5.7.

    Source: offline_pages(), mm/memory_hotplug.c and include/linux/memory_hotplug.h.
    """
    if not kernel.memory_hotremove:
        raise KernelRefusal(errno.EINVAL)
    if unmovable or has_unmovable_pages(kernel, pfns, zone_type):
        raise KernelRefusal(errno.EBUSY)
    # Which empties the lists of all CPUs first.
    kernel.pfns.clear_bits(pfns, "page_flags", PageFlag.PARKED)
    yield "start_isolate_page_range"
    try:
        memory_notify(kernel, NotifierAction.MEM_GOING_OFFLINE, pfns)
        yield "MEM_GOING_OFFLINE"
        scan_movable_pages(kernel, pfns)
        yield from dissolve_free_hugetlb_folios(kernel, pfns)
    except KernelRefusal:
        memory_notify(kernel, NotifierAction.MEM_CANCEL_OFFLINE, pfns)
        raise
    offline_mem_sections(kernel, pfns)
    ram = present(kernel, pfns, kernel.rules.offlining_walks_system_ram)
    if kernel.rules.offlining_reserves:
        for part in ram:
            kernel.pfns.set_bits(part, "page_flags", PageFlag.PG_reserved)
    yield "offline_mem_sections"
    # __offline_isolated_pages() takes it: who walks the zone under it has seen its pages online.
    yield from kernel.locks.drain(zone_lock(nid, zone_type))
    managed = sum(offline_isolated_pages(kernel, part) for part in ram)
    adjust_managed_page_count(kernel, pfns.start_pfn, -managed)
    adjust_present_page_count(kernel, nid, zone_type, -sum(part.nr_pages for part in ram))
    leave_zonelists(kernel, nid, zone_type)
    yield "adjust_present_page_count"
    memory_notify(kernel, NotifierAction.MEM_OFFLINE, pfns)
    yield from offline_page_ext(kernel, pfns)
    if kernel.rules.remove_pfn_range_from_zone_at_offline:
        yield from remove_pfn_range_from_zone(kernel, pfns, nid, zone_type)


def leave_zonelists(kernel: Kernel, nid: int, zone_type: ZoneType) -> None:
    """A node that has no memory any more says so; that a zone has none, all nodes are told.

    Source: node_states_clear_node(), build_all_zonelists() in offline_pages().
    """
    first, node = kernel.rules.memoryless_before_zonelists, kernel.nodes[nid]
    if first and not node.node_present_pages:
        node.n_memory = 0
    if not kernel.zone(nid, zone_type).present_pages:
        kernel.nodes.build_all_zonelists()
    if not node.node_present_pages:
        node.n_memory = 0


def has_unmovable_pages(kernel: Kernel, pfns: PfnRange, zone_type: ZoneType) -> bool:
    """Whether a page of *pfns* can never be moved: reserved, or held in a kernel zone by whoever
    takes pages that are on no LRU list. PageOffline pages are left to whoever marked them, broken
    ones are skipped.

    Source: has_unmovable_pages() with MEMORY_OFFLINE, mm/page_isolation.c.
    """
    flags, refs = kernel.pfns.within(pfns, "page_flags"), kernel.pfns.within(pfns, "refcount")
    held = (refs > 0) & (flags & (PageFlag.PG_offline | PageFlag.PG_hwpoison) == 0)
    held &= ~on_lru(kernel, pfns)
    if zone_type == ZoneType.ZONE_MOVABLE:
        held[:] = False
    return bool(((flags & PageFlag.PG_reserved != 0) | held).any())


def scan_movable_pages(kernel: Kernel, pfns: PfnRange) -> None:
    """What offlining would wait for. Refuses with -EBUSY at a PageOffline page that its
    owner has not let go of, with -EINTR where the kernel tries until a signal comes: at a
    page that is held, or that is free where it is not found. Of a user's page and a
    PageOffline one the first counts. A broken page is unmapped and skipped, whoever holds it.

    # Simplified: memory_failure() has failed to unmap what somebody uses.

    Source: scan_movable_pages(), do_migrate_range(); commit b15c87263a69 (in v5.0) for
    broken pages; commit af288a426c3e (in v6.14) for the lock.
    """
    flags, refs = kernel.pfns.within(pfns, "page_flags"), kernel.pfns.within(pfns, "refcount")
    broken = flags & (PageFlag.PG_offline | PageFlag.PG_hwpoison) == PageFlag.PG_hwpoison
    skipped = broken & kernel.rules.offline_skips_broken_pages
    if skipped.any() and not kernel.rules.offline_locks_what_it_unmaps:
        x = kernel.extents()
        for pages in x.where(x.touched([pfns]) & x.page_has(PageFlag.PG_hwpoison) & (x.users != 0)):
            kernel.ledger.breach(Law.UNMAPPED_UNLOCKED, pages)
    if (flags & PageFlag.PARKED).any():
        kernel.ledger.breach(Law.PARKED, pfns)
        raise KernelRefusal(errno.EINTR)
    held = (refs > 0) & ~skipped
    away = held & (flags & PageFlag.PG_offline != 0)
    if held.any():
        # What is on no LRU list is passed over, and holds offlining up only behind that.
        first = np.flatnonzero(away | held & on_lru(kernel, pfns))
        raise KernelRefusal(errno.EBUSY if len(first) and away[first[0]] else errno.EINTR)


def on_lru(kernel: Kernel, pfns: PfnRange) -> NDArray[np.bool_]:
    """Rows of *pfns* that a process has mapped, who may have let a device or a guest have them.

    Source: PageLRU() in has_unmovable_pages() and scan_movable_pages().
    """
    users, flags = kernel.pfns.within(pfns, "users"), kernel.pfns.within(pfns, "page_flags")
    mapped = users & (PageUser.VFIO | PageUser.KVM | PageUser.GASKET) != 0
    return np.asarray(mapped & (flags & PageFlag.PG_offline == 0))


def mhp_init_memmap_on_memory(
    kernel: Kernel, memmap: PfnRange, nid: int, zone_type: ZoneType
) -> Steps:
    """Link the pages that hold a block's own memmap to its zone; they never go to the
    buddy allocator.

    Source: mhp_init_memmap_on_memory().
    """
    if memmap.nr_pages <= 0:
        return
    yield from move_pfn_range_to_zone(kernel, memmap, nid, zone_type, None)
    bits = PageFlag.PG_vmemmap_self_hosted
    kernel.pfns.clear_bits(memmap, "page_flags", PageFlag.PG_offline)
    kernel.pfns.set_bits(memmap, "page_flags", bits)
    for section_nr in kernel.geometry.sections_of(memmap):
        section = kernel.geometry.section_pfns(section_nr)
        if memmap.contains(section):
            online_mem_sections(kernel, section)
    yield "mhp_init_memmap_on_memory"


def mhp_deinit_memmap_on_memory(
    kernel: Kernel, memmap: PfnRange, nid: int, zone_type: ZoneType
) -> Steps:
    """Undo mhp_init_memmap_on_memory().

    Source: mhp_deinit_memmap_on_memory().
    """
    if memmap.nr_pages <= 0:
        return
    for section_nr in kernel.geometry.sections_of(memmap):
        section = kernel.geometry.section_pfns(section_nr)
        if memmap.contains(section):
            offline_mem_sections(kernel, section)
    yield from remove_pfn_range_from_zone(kernel, memmap, nid, zone_type)
    yield "mhp_deinit_memmap_on_memory"
