"""Users of PageReserved() decide rightly, whatever the flag says."""

from __future__ import annotations

from itertools import starmap

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import PageFlag
from hotplug_model.invariants.invariant import always, broken, law
from hotplug_model.page_state import page_states
from hotplug_model.pfn import PfnRange
from hotplug_model.state.ledger import Law
from hotplug_model.users.wrong_before import worse_than_before


@always(quiescent=True, by=page_states, reads="iomem pgmaps")
def users_decide_as_rightly_as_they_did(x: Extents) -> ExtentMask:
    """A user of PageReserved() decides wrongly about a page that it was right about.

    Users that look for pages themselves are pfn walkers, and judged as such. What was wrong
    before seed 000 is known, and not asked for here: ``hotplug-model audit`` shows it.

    Source: the users of PageReserved(), see ``hotplug_model.users``; "[PATCH RFC v1 00/12]
    mm: Don't mark hotplugged pages PG_reserved (including ZONE_DEVICE)", linux-kernel,
    October 2019.
    """
    return worse_than_before(x)


@law(Law.MISCOUNTED, reads="pfns pgmaps ledger", quiescent=True)
def pages_count_the_references_on_them(x: Extents) -> list[PfnRange]:
    """The count of a page is not that at which it rests and the references of its users.

    One that was never dropped was leaked, one that was never taken was somebody else's.
    Broken pages, which memory_failure() holds, are left out.

    Source: put_pfn() in drivers/vfio/vfio_iommu_type1.c; kvm_release_pfn_clean() in
    virt/kvm/kvm_main.c; __init_zone_device_page() in mm/page_alloc.c (6.1).
    """
    kept = PageFlag.PG_hwpoison | PageFlag.PG_offline
    ram = x.is_online_ram & x.is_managed & ~x.page_has(kept)
    rows = ram & (x.refcount != x.nr_references)
    for pgmap_id, pgmap in x.kernel.pgmaps.items():
        mine = x.is_zone_device & (x.page_pgmap == pgmap_id)
        idle = pgmap.idle_ref(x.kernel.rules)
        rows |= mine & (x.refcount != idle + x.nr_references)
    # Neighbours may be wrong for reasons of their own.
    each = zip(x.start_pfn[rows].tolist(), x.end_pfn[rows].tolist(), strict=True)
    return sorted({*starmap(PfnRange, each), *broken(x, Law.MISCOUNTED)})


@always(quiescent=True)
def nobody_dirties_device_pages(x: Extents) -> ExtentMask:
    """PG_dirty is set on a page of ZONE_DEVICE, which nobody ever writes back or cleans.

    Source: gasket_release_page(), kvm_set_pfn_dirty(), put_pfn(); seed 000, patches 4 to 7.
    """
    rows: ExtentMask = x.is_zone_device & x.page_has(PageFlag.PG_dirty)
    return rows


@law(Law.GONE_UNDER_A_REFERENCE, reads="ledger")
def pages_outlive_the_references_on_them(x: Extents) -> list[PfnRange]:
    """A page left its zone, and somebody still had a reference on it.

    Source: offline_pages() in mm/memory_hotplug.c; memunmap_pages() in mm/memremap.c.
    """
    return broken(x, Law.GONE_UNDER_A_REFERENCE)
