"""Operations in flight together: what none of them does alone."""

from __future__ import annotations

from hotplug_model.extents import Extents
from hotplug_model.invariants.invariant import broken, law
from hotplug_model.pfn import PfnRange
from hotplug_model.state.ledger import Law


@law(Law.CYCLE_OF_WAITS, reads="ledger")
def nobody_waits_for_ever(x: Extents) -> list[PfnRange]:
    """Operations wait for one another in a circle.

    Source: device_online(), add_memory_resource(); "Locking Internals" in
    Documentation/core-api/memory-hotplug.rst.
    """
    return broken(x, Law.CYCLE_OF_WAITS)


@law(Law.USED_UNMAPPED, reads="ledger")
def walkers_use_mapped_pages(x: Extents) -> list[PfnRange]:
    """A walker reads a struct page whose memmap was freed since it was looked up.

    Source: pfn_to_online_page(), mm/memory_hotplug.c; section_deactivate(), mm/sparse.c.
    """
    return broken(x, Law.USED_UNMAPPED)


@law(Law.USED_POISONED, reads="ledger")
def walkers_use_no_poisoned_page(x: Extents) -> list[PfnRange]:
    """A walker reads a struct page that is poisoned, though it has looked it up.

    Source: pfn_to_online_page(), remove_pfn_range_from_zone(), mm/memory_hotplug.c.
    """
    return broken(x, Law.USED_POISONED)


@law(Law.USED_ANOTHERS, reads="ledger")
def walkers_use_what_they_looked_up(x: Extents) -> list[PfnRange]:
    """A walker reads a struct page that is not any more, or not yet, what it was looked up as.

    Source: pfn_to_online_page(), mm/memory_hotplug.c; get_dev_pagemap(), mm/memremap.c.
    """
    return broken(x, Law.USED_ANOTHERS)


@law(Law.READ_AFTER_FREE, reads="ledger")
def nobody_reads_what_was_freed(x: Extents) -> list[PfnRange]:
    """What was freed is read by who had loaded its address before.

    Source: commit 5ec8e8ea8b77 ("mm/sparsemem: fix race in accessing
    memory_section->usage") (in v6.8); commit b1d5488a252d ("mm: fix use-after free of
    page_ext after race with memory-offline") (in v6.1).
    """
    return broken(x, Law.READ_AFTER_FREE)


@law(Law.NULL_READ, reads="ledger")
def nobody_follows_a_null_pointer(x: Extents) -> list[PfnRange]:
    """The usage map of a section that lost it is read.

    Source: commit 82f0b6f041fa ("mm: prevent derefencing NULL ptr in
    pfn_section_valid()") (in v6.10).
    """
    return broken(x, Law.NULL_READ)


@law(Law.ZONE_CHANGED_UNLOCKED, reads="ledger")
def zones_change_under_mem_hotplug_lock(x: Extents) -> list[PfnRange]:
    """A zone changes while somebody who holds get_online_mems() relies on it.

    Source: present_pages of struct zone in include/linux/mmzone.h; commit 001002e73712
    ("mm/memory_hotplug: add missing mem_hotplug_lock") (in v6.7).
    """
    return broken(x, Law.ZONE_CHANGED_UNLOCKED)


@law(Law.PARKED, reads="ledger")
def offlining_finds_what_is_free(x: Extents) -> list[PfnRange]:
    """Offlining waits for ever for a page that is free: it lies in a CPU's list.

    Source: test_pages_isolated(), mm/page_isolation.c, for offline_pages(); commit 968318261221
    ("mm/memory_hotplug: drain per-cpu pages again during memory offline") (in v5.9).
    """
    return broken(x, Law.PARKED)
