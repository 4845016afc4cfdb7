"""Why invariants are kept that no change of the zoo is noticed by alone.

``zones_manage_no_more_than_is_present`` is not: it follows from managed_pages_add_up and
present_pages_add_up, and no change and no mutant was ever noticed by it alone.
"""

from __future__ import annotations

MUTANTS: dict[str, tuple[str, str]] = {
    "pgmap_references_count_the_pages": ("mm/memremap.py", "flipped: if pgmap.counts_pages:"),
    "valid_pfns_have_a_struct_page": (
        "mm/sparse.py", "left-out: populate_section_memmap(kernel, pfns, altmap, pgmap)"
    ),
    "memory_blocks_lie_in_system_ram": ("mm/memory_hotplug.py", "left-out: raise"),
    "offline_pages_are_not_in_the_buddy_allocator": ("mm/virtio_mem.py", "left-out: return"),
    "memmap_goes_back_to_its_owner": (
        "mm/sparse_vmemmap.py", "flipped: own = row['origin'] in OWN_MEMORY"
    ),
    "vmemmap_outlives_its_pfns": (
        "mm/sparse_vmemmap.py", "flipped: rows = (kernel.pfns.column('subsection')[runs] != 0)"
    ),
    "allocated_vmemmap_is_mapped": (
        "mm/sparse_vmemmap.py", "left-out: kernel.ledger.freed(origin, nr_pages)"
    ),
    "zone_spans_cover_their_pages": ("mm/page_alloc.py", "column: kernel.pfns.write(pfns, content"),
    "device_spans_cover_their_pages": (
        "mm/page_alloc.py",
        "column: kernel.pfns.write(pfns, content=PageContent.INITIALISED, zone=ZoneType.ZONE_DEV",
    ),
    "node_spans_cover_their_zones": (
        "mm/zones.py", "left-out: resize_pgdat_range(kernel.nodes[nid], pfns)"
    ),
    "node_spans_shrink": ("state/zone.py", "bound: return PfnRange(start, start + spanned)"),
    "present_pages_add_up": (
        "mm/online.py",
        "left-out: adjust_present_page_count(kernel, nid, zone_type, -sum((part.nr_pages ",
    ),
    "nodes_count_what_their_zones_count": (
        "mm/zones.py", "left-out: kernel.nodes[nid].node_present_pages += nr_pages"
    ),
    "offline_memory_is_in_no_zone": (
        "mm/page_alloc.py", "left-out: kernel.pfns.assign(pfns, 'content', content)"
    ),
    "memory_blocks_know_their_zone": ("mm/base_memory.py", "left-out: block.zone = zone_type"),
    "virtio_mem_knows_its_blocks": (
        "mm/online.py", "left-out: memory_notify(kernel, NotifierAction.MEM_ONLINE, pfns)"
    ),
    "online_pages_belong_to_somebody": ("mm/online.py", "left-out: online_page(kernel, part)"),
    "base_pages_hang_on_a_page_table": (
        "mm/sparse_vmemmap.py", "left-out: ensure_page_table(kernel, region)"
    ),
    "backed_memory_is_used": (
        "mm/hv_balloon.py",
        "bound: generic_online_page(kernel, PfnRange(start, start + nr_pages))",
    ),
    "notifiers_hear_how_it_ended": (
        "mm/online.py", "left-out: memory_notify(kernel, NotifierAction.MEM_OFFLINE, pfns)"
    ),
    "requests_are_refused_for_a_reason": (
        "mm/sparse.py", "flipped: if kernel.pfns.within(pfns, 'subsection').any()"
    ),
    "requests_that_cannot_be_met_are_refused": (
        "mm/memory_failure.py", "left-out: raise KernelRefusal(errno.ENXIO)"
    ),
    "requests_that_are_granted_are_carried_out": (
        "mm/memory_failure.py", "left-out: mark_ram(kernel, pfn)"
    ),
}  # fmt: skip
"""A mutant that only this invariant noticed: its file, and how its description begins."""

RACES = "it judges what two operations, or a walker that takes time, do at once: see `race`"
REASONS: dict[str, str] = {
    "walkers_use_mapped_pages": RACES,
    "walkers_use_what_they_looked_up": RACES,
    "pgmap_array_holds_the_maps": "it names an entry that is left behind, where no device page is",
    "device_pages_point_to_their_map": "it says which page points to the wrong map",
    "populated_device_pages_have_a_map": "an entry that is missing, not wrong, shows here first",
    "populated_subsections_are_valid": "it says which store is missing, whoever asked for it",
    "online_sections_are_online_blocks": "it holds at boot, and whoever changes either of the two",
    "memory_blocks_hold_no_device_memory": "it holds whoever came first, and whatever was granted",
    "unplugged_memory_is_not_in_use": "its reader is blamed elsewhere; here whoever gave it away",
    "online_sections_are_valid": "an online section without a memmap is what all walkers rely on",
    "buddy_pages_are_system_ram": "where all counts add up it is all that sees what was given away",
    "online_pages_are_initialised": "it needs no walker, so it holds whatever walkers ask",
    "struct_pages_are_no_page_table": "it alone notices a known defect of mainline",
    "lookups_stay_in_bounds": "what is read out of bounds may be right by chance",
    "markers_claim_no_page_in_use": "the next removal would free it; this says so before",
    "self_hosted_memmap_is_nobodys_memory": "memmap in the buddy allocator breaks much later",
    "walkers_take_no_stale_page": "where memmaps are not poisoned it is all that notices row 18",
    "walkers_miss_no_online_page": "what pfn_to_online_page() denies wrongly shows nowhere else",
    "kernel_zones_are_in_the_linear_map": "it alone notices a known defect of mainline, on x86-32",
    "memory_is_read_through_the_linear_map": "a fault of the reader, not of the map",
    "pages_outlive_the_references_on_them": "it names who is left with what is gone",
    "nobody_dirties_device_pages": "it says what a wrong decision does, and to which page",
}
"""What it says that no other does, where no mutant was found."""


def kept(name: str) -> str:
    """Why; empty if a change is noticed by *name* alone."""
    if name in MUTANTS:
        file, text = MUTANTS[name]
        kind, _, before = text.partition(": ")
        return f"alone notices a mutant of `{file}`: {kind} `{before}`"
    return REASONS.get(name, "")
