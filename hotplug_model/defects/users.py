"""Of users that keep pages: what mainline gets wrong, and did before."""

from __future__ import annotations

import numpy as np

from hotplug_model.arrays import Column, ExtentMask
from hotplug_model.defects.defect import known_defect, no_rows, put_down_to
from hotplug_model.extents import Extents
from hotplug_model.flags import PageFlag
from hotplug_model.state.ledger import Cause

COUNTS = "pages_count_the_references_on_them"
OUTLIVES = "pages_outlive_the_references_on_them"
BELONGS = "online_pages_belong_to_somebody"


@known_defect(COUNTS, quiescent=True, causes=(Cause.NEVER_DROPPED,))
def device_dax_keeps_its_pins(x: Extents) -> ExtentMask:
    """What vfio has pinned of device-dax it never drops.

    pin_user_pages_remote() gives it such a page, and put_pfn() asks whether the pfn is
    reserved, which every page of ZONE_DEVICE is. The count stays where it is, and so does
    what the user was charged. Where pages of ZONE_DEVICE are not reserved, as seed 000 wants
    it, pfn_to_online_page() is asked, and knows no such page either; KVM would do the same.
    It did until commit a78986aae9b2 (in v5.4), which is no defect of mainline any more.

    Source: vaddr_get_pfns(), put_pfn(), is_invalid_reserved_pfn() in
    drivers/vfio/vfio_iommu_type1.c; __init_zone_device_page() in mm/page_alloc.c (6.1).
    """
    kept = x.touched(put_down_to(x, Cause.NEVER_DROPPED))
    return kept & x.is_zone_device & (x.refcount > idle(x) + x.nr_references)


@known_defect(COUNTS, OUTLIVES, BELONGS, quiescent=True, causes=(Cause.NEVER_TAKEN,))
def a_pfn_becomes_a_page(x: Extents) -> ExtentMask:
    """Who had a pfn without a page drops a reference on the page that it has become.

    vfio takes what /dev/mem maps without a reference, if no page is there or a reserved
    one, and does not write down that it has none: put_pfn() asks once more. If memory was
    added there and went online meanwhile, the last reference is dropped of a page that is
    somebody else's, or free. With a count of 0 the page goes offline under him who has the
    other reference, be that a balloon. KVM did the same with what kvm_vcpu_map() had found,
    until it kept the page that it was given (in v6.13).

    Source: vaddr_get_pfns(), follow_fault_pfn(), put_pfn(), is_invalid_reserved_pfn() in
    drivers/vfio/vfio_iommu_type1.c; hva_to_pfn_remapped() in virt/kvm/kvm_main.c (6.1).
    """
    taken = x.touched(put_down_to(x, Cause.NEVER_TAKEN))
    kept = ~x.is_managed & x.page_has(PageFlag.PG_offline) & (x.refcount == 0)
    too_few: ExtentMask = (x.refcount < idle(x) + x.nr_references) | kept
    return taken & x.initialised & too_few


@known_defect(
    COUNTS, quiescent=True, causes=(Cause.SET_ANEW,), undone=("kvm-keeps-the-page",)
)
def a_page_is_freed_under_kvm(x: Extents) -> ExtentMask:
    """A page that a balloon gives back is freed though KVM has a reference on it.

    Until v6.13 KVM took a reference on what a VM_PFNMAP mapping led to, if that was an
    unreserved page, as those of a balloon are. free_reserved_page(), by which Xen's
    balloon gives them back, and __free_pages_core() set the count anew: KVM's reference is
    lost, and what it drops later is somebody else's. Since then KVM takes none.

    Source: hva_to_pfn_remapped(), kvm_try_get_pfn() in virt/kvm/kvm_main.c;
    free_reserved_page() in include/linux/mm.h; increase_reservation() in
    drivers/xen/balloon.c (6.1).
    """
    freed = x.touched(put_down_to(x, Cause.SET_ANEW))
    return freed & (x.refcount < idle(x) + x.nr_references)


@known_defect(COUNTS, quiescent=True, causes=(Cause.SET_ANEW_UNDER_A_WALKER,))
def a_page_is_freed_under_a_walker(x: Extents) -> ExtentMask:
    """A page that Xen's balloon gives back is freed though a walker has a reference on it.

    split_huge_pages_all() and DAMON take a reference on every page that is in use, then ask
    what it is. A page of the balloon is in use: its count is 1. free_reserved_page() sets the
    count anew and frees the page, and the walker drops a reference that there is no more: of a
    free page, or of whoever has it by then.

    Source: split_huge_pages_all() in mm/huge_memory.c; damon_get_folio() in
    mm/damon/ops-common.c; free_reserved_page() in
    include/linux/mm.h; increase_reservation() in drivers/xen/balloon.c (6.1, 6.12).
    """
    freed = x.touched(put_down_to(x, Cause.SET_ANEW_UNDER_A_WALKER))
    return freed & (x.refcount < idle(x) + x.nr_references)


@known_defect("backed_memory_is_used", quiescent=True, causes=(Cause.GOES_ONLINE,))
def what_is_backed_meanwhile_stays_offline(x: Extents) -> ExtentMask:
    """Memory that Hyper-V backs while its memory block goes online is never used.

    online_pages() first hands all pages to hv_online_page(), which keeps those that the host
    has not backed yet, and only then marks the section online. If the host backs the rest in
    between, handle_pg_range() asks online_section_nr(), takes the section for offline, and
    leaves the pages to a callback that was there already. They stay PageOffline until the
    block was offline once more. Both hold ha_lock, but nobody does from the callback on until
    the section is online.

    Source: handle_pg_range(), hv_online_page(), has_pfn_is_backed() in
    drivers/hv/hv_balloon.c; online_pages_range() in mm/memory_hotplug.c (6.1, 6.12).
    """
    missed = x.touched(put_down_to(x, Cause.GOES_ONLINE))
    return missed & x.is_online_ram & x.page_has(PageFlag.WITHHELD)


@known_defect("managed_pages_add_up", quiescent=True, causes=(Cause.BROKEN,))
def a_broken_page_is_subtracted_twice(x: Extents) -> ExtentMask:
    """A page that is unplugged and broken is taken off managed_pages again by offlining.

    virtio-mem takes what it unplugs off managed_pages, and since v6.11 offlining leaves out
    what is PageOffline. But __offline_isolated_pages() first asks for PageHWPoison, and goes
    on without counting the page as one that is off already. memory_failure() sets that flag
    on a PageOffline page, too, and leaves it there though it can do nothing. With each time
    that such a block goes offline its zone manages a page less than it has.

    Source: __offline_isolated_pages() in mm/page_alloc.c; offline_pages() in
    mm/memory_hotplug.c; virtio_mem_fake_offline() in drivers/virtio/virtio_mem.c;
    memory_failure() in mm/memory-failure.c (6.12).
    """
    return no_rows(x)


def idle(x: Extents) -> Column:
    """At which count each page rests; those of RAM, and of maps that are gone, at 0."""
    counts = np.zeros(len(x.start_pfn), np.int32)
    for pgmap_id, pgmap in x.kernel.pgmaps.items():
        mine = x.is_zone_device & (x.page_pgmap == pgmap_id)
        counts[mine] = pgmap.idle_ref(x.kernel.rules)
    return counts
