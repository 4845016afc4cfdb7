"""Variation points: where kernels differ. Declarations only; mm/ implements them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from hotplug_model.arrays import ExtentMask
    from hotplug_model.extents import Extents
    from hotplug_model.flags import MemoryClass, MemoryType, PageFlag, ZoneType
    from hotplug_model.kernel import Kernel
    from hotplug_model.pfn import PfnRange
    from hotplug_model.state.memblock import UnusedVmemmap
    from hotplug_model.state.zone import Zone

Steps: TypeAlias = Generator[str, None, None]
"""An operation on its way: yields the name of each milestone it has passed."""
PartSteps: TypeAlias = Generator[str, None, int]
"""A part of one that returns how many of something it did, or what is left to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRules:
    """One field per place where kernels differ, named after the kernel code there.

    ``hotplug_model.mm.mainline.MAINLINE`` is mainline.
    """

    pfn_to_online_page: Callable[[Extents], ExtentMask]
    """Pfns for which pfn_to_online_page() returns a page."""
    online_checks_subsection: Literal["always", "slow_path", "never"]
    """Where it asks the subsection bit: ``always``, on the ``slow_path`` only, ``never``."""
    online_checks_arch_pfn_valid: bool
    """Whether it asks pfn_valid() where an architecture knows holes in a zone."""
    arm64_pfn_valid_asks_memblock: bool
    """Whether arm64's own pfn_valid() grants only what memblock has: RAM, no device."""
    section_nid_shift: int
    """``SECTION_NID_SHIFT``: from which bit on a section keeps its node until boot has a
    memmap for it."""
    existing_root_is_success: bool
    """Whether a section that is added below an entry of ``mem_section`` that is there already
    stays, though looking for the entry said -EEXIST."""
    section_mem_map_reset_to_0: bool
    """Whether ``section_mem_map`` of a section that is empty is 0, not what encodes NULL."""
    memmap_found_by_pfn_to_page: bool
    """Whether adding a part of a section encodes where its memmap is, not where the memory
    is that begins the section."""
    asks_pfn_valid: frozenset[str]
    """Kernel functions that ask pfn_valid() where mainline asks pfn_to_online_page()."""
    section_taint_zone_device: bool
    """Whether an unaligned ZONE_DEVICE range taints the sections of its ends."""
    memremap_part_of_section: Literal["maps", "keeps_off", "pads"]
    """What memremap_pages() does if asked for a part of a section: ``maps`` it, ``keeps_off``
    a section that has System RAM (seed 001), or does so and ``pads`` it to whole sections
    (before 5.3)."""
    memmap_init_to_section_end: bool
    """Whether boot, where a zone ends amid a section, initialises the rest of that as well."""
    page_init_poison_at_removal: bool
    """Whether remove_pfn_range_from_zone() poisons what it takes out of the zone."""
    remove_pfn_range_from_zone_at_offline: bool
    """Whether a zone gives up its pages when they go offline, not when removed."""
    shrink_zone_span: Callable[[Kernel, int, ZoneType, PfnRange], Steps]
    """Shrinks a zone's span when a range at its edge leaves."""
    shrink_asks_online: bool
    """Whether the search for the new edge looks at online pages only."""
    resize_zone_range: Callable[[Zone, PfnRange], None]
    """Widens a zone's span."""
    zone_contiguous: Literal["scanned", "counted", "counted_populated"]
    """How a zone is known to have no hole: ``scanned`` when its span changes; or its pages with
    a memmap are ``counted``, holes of boot memory among them, or but those of populated
    subsections, ``counted_populated`` (proposals of 2026)."""
    offline_rejects_holes: bool
    """Whether offline_pages() refuses ranges that are not wholly System RAM."""
    onlining_walks_system_ram: bool
    """Whether online_pages() hands over, and counts, what is System RAM of a range alone."""
    memoryless_before_zonelists: bool
    """Whether a node that goes memoryless has lost N_MEMORY before zonelists are built anew."""
    offlining_walks_system_ram: bool
    """Whether offline_pages() takes back, and counts, what is System RAM of a range alone."""
    zones_at_add: bool
    """Whether arch_add_memory() puts memory into a zone (before 4.13), not going online."""
    vmemmap_split_splits_the_page: bool
    """Whether a huge page of vmemmap that is mapped by base pages from now on is split as well."""
    hugetlb_dtor_outlives_vmemmap: bool
    """Whether a huge page without a vmemmap of its own says so until it has one again."""
    hugetlb_rollback_spares_the_head: bool
    """Whether giving vmemmap back, if it fails, restores what it had taken, and no more."""
    offlining_drains_again: bool
    """Whether offlining finds what is freed, to some CPU's list, since it isolated the range."""
    offline_locks_what_it_unmaps: bool
    """Whether offlining takes the lock of a broken page that it unmaps."""
    offline_skips_broken_pages: bool
    """Whether offlining does not wait for a broken page to be migrated."""
    online_rejects_broken_pages: bool
    """Whether a memory block counts the pages of it that broke, and refuses to go online if
    there are any."""
    blocks_take_off_broken_pages: bool
    """Whether num_poisoned_pages loses what a memory block counts, when that goes, not what the
    memmap says is broken when its section goes."""
    memblk_nr_poison_puts_device: bool
    """Whether counting a broken page drops the reference on the memory block's device that
    looking that up took."""
    block_zone: Callable[[Kernel, int], ZoneType | None]
    """The single zone of an online memory block, or None."""
    block_zone_is_cached: bool
    """Whether that needs no struct page."""
    add_memory_takes_device_hotplug_lock: bool
    """Whether add_memory() excludes writes to ``memoryN/state``."""
    mhp_range_allowed_first: bool
    """Whether add_memory() checks addressability before anything else."""
    zone_for_pfn_range_truncates: bool
    """Whether zone_for_pfn_range() takes its first pfn as an unsigned int (before 5.15)."""
    online_takes_mem_hotplug_lock: bool
    """Whether onlining and offlining exclude get_online_mems(), and all that adds memory."""
    self_hosted_memmap_under_lock: bool
    """Whether a block's own memmap is set up and counted under the same lock."""
    sections_bring_blocks: bool
    """Whether __add_pages() registers a memory block with its first section (before 5.3), not
    add_memory() when all of its sections are there."""
    blocks_removed_first: bool
    """Whether memory block devices go before any of their sections, not with the last."""
    memmap_on_memory: Literal["absent", "one_block", "per_block"]
    """``absent``, ``one_block`` (5.13) or ``per_block`` (6.8)."""
    memmap_on_memory_archs: frozenset[str]
    """Architectures that offer it, where they have SPARSEMEM_VMEMMAP."""
    block_altmap_stored: Literal["last", "first", "never"]
    """When a memory block gets its altmap: ``last``, when its device is registered, or ``first``;
    or ``never``: before 6.6 it knows how many pages its memmap takes, and no more."""
    memmap_on_memory_falls_back: bool
    """Whether an unsupported memmap_on_memory request gets an ordinary memmap."""
    hotplugged_ram_flag: PageFlag
    """How memmap_init_range() marks System RAM until it is online."""
    device_pageblocks_all_typed: bool
    """Whether every pageblock of device memory gets a migratetype, not only the first of each
    compound page."""
    zone_device_flag: PageFlag
    """How pages of ZONE_DEVICE are marked."""
    reserves_withheld_pages: frozenset[str]
    """Drivers' functions that mark PG_reserved what they keep back of memory going online."""
    hv_onlines_once: bool
    """Whether hv_balloon leaves alone what went online before, if the host backs it again."""
    offlining_reserves: bool
    """Whether offlined pages are PG_reserved."""
    kvm_is_reserved_pfn: Literal["reserved", "online", "not_device", "ad_tracked", "absent"]
    """What KVM asks before it touches a struct page: ``reserved``, ``online`` (seed 000),
    ``not_device`` (5.4), ``ad_tracked`` (6.0), or nothing any more: ``absent``. See
    ``hotplug_model.users``."""
    kvm_is_mmio_pfn: Literal["reserved", "online", "online_uncached"]
    """``reserved``, ``online`` (seed 000) or ``online_uncached`` (seed 000, corrected)."""
    hwpoison_user_mappings: Literal["reserved", "offline"]
    """``reserved``, or ``offline`` (6.6): asks PageOffline(), too."""
    dax_kmem_copies_its_name: bool
    """Whether the region of a dax device has a name of its own, not the device's."""
    dax_kmem_releases_what_failed: bool
    """Whether dev_dax_kmem_probe() releases a region whose memory could not be added."""
    saveable_page_asks_page_offline: bool
    """Whether hibernation leaves PageOffline pages out of its image."""
    is_invalid_reserved_pfn: Literal["reserved", "online"]
    """``reserved`` or ``online`` (seed 000)."""
    check_page_span: Literal["reserved", "not_device", "absent"]
    """``reserved``, ``not_device`` (seed 000) or ``absent``."""
    gasket_release_page: Literal["reserved", "not_device", "absent"]
    """``reserved``, ``not_device`` (seed 000) or ``absent``."""
    transfer_complete_cb: Literal["reserved", "not_device", "absent"]
    """``reserved``, ``not_device`` (seed 000) or ``absent``."""
    kvmppc_book3s_instantiate_page: Literal["reserved", "online", "absent"]
    """``reserved``, ``online`` (seed 000) or ``absent``."""
    hash_page_do_lazy_icache: Literal["reserved", "online"]
    """``reserved`` or ``online`` (seed 000)."""
    maybe_pte_to_page: Literal["reserved", "online"]
    """``reserved`` or ``online`` (seed 000)."""
    ioremap_check_ram: Literal["reserved", "online"]
    """``reserved`` or ``online`` (seed 000)."""
    offline_skips_page_offline: bool
    """Whether offlining takes off managed_pages only what is not PageOffline; else whoever
    keeps such pages adds them beforehand."""
    answers_vmcore: frozenset[str]
    """Drivers that /proc/vmcore asks which memory there is: ``virtio_mem``, ``xen``."""
    virtio_mem_may_unplug_unsafely: bool
    """Whether its driver can be told to offline big blocks of which it has not taken every page
    first (before 6.5)."""
    virtio_mem_sub_block_is_max_order: bool
    """Whether virtio-mem's sub-blocks are the allocator's largest chunks, not pageblocks."""
    idle_device_private_ref: int
    """Reference count at which a device-private or coherent page rests."""
    idle_p2pdma_ref: int
    """The same of peer-to-peer memory of PCI."""
    idle_fs_dax_ref: int
    """The same of fs-dax. # Simplified: where it is 0, each page table that maps the page counts;
    whoever pins one has it mapped all the while, and only the pin is counted."""
    early_memmap_kept: bool
    """Whether a partly removed early section keeps its whole boot memmap."""
    boot_usage_kept: bool
    """Whether a usage map that boot allocated is told by where it lies, not by whether
    its section is early."""
    usage_freed_by_rcu: bool
    """Whether a usage map is freed by kfree_rcu(), behind the section's validity, and
    pfn_valid() is a reader of RCU."""
    pfn_section_valid_checks_usage: bool
    """Whether pfn_section_valid() copes with a usage map that is gone."""
    page_ext_freed_by_rcu: bool
    """Whether page_ext is freed after a grace period, and its users are readers of RCU."""
    altmap_is_passed: bool
    """Whether removing memory is told its altmap, not left to look it up by the page to free."""
    pgmap_array_deleted_last: bool
    """Whether a map can be looked up until its memory is removed."""
    memunmap_waits_for_references: bool
    """Whether memunmap_pages() unplugs nothing before the last reference is dropped."""
    device_private: bool
    """Whether there is MEMORY_DEVICE_PRIVATE (4.14 and later)."""
    device_public: bool
    """Whether there is MEMORY_DEVICE_PUBLIC (4.14 to 5.2)."""
    device_p2pdma: bool
    """Whether there is MEMORY_DEVICE_PCI_P2PDMA (4.20 and later)."""
    device_coherent: bool
    """Whether there is MEMORY_DEVICE_COHERENT (6.0 and later)."""
    device_page_keeps_its_map: Literal["while_held", "never", "per_look_up"]
    """What holding a page of a device means for its map: it stays ``while_held`` (4.12 to
    5.17), ``never`` (5.18 and later), or as long as some reference that was taken with
    another look-up, ``per_look_up`` (before 4.12)."""
    memory_failure_asks_for_data: bool
    """Whether memory_failure() leaves what of a map is no data, or not initialised yet."""
    memunmap_kills_reference: bool
    """Whether memunmap_pages() kills the reference of the map, so that nobody gets another,
    not its caller at some time."""
    devmap_managed: frozenset[MemoryType]
    """Types of maps whose driver wants to know of a page's last reference but one."""
    devmap_managed_put_as_got: bool
    """Whether devmap_managed_key is decremented only for maps that incremented it."""
    memmap_freed_before_reset: bool
    """Whether section_deactivate() decodes the memmap before it resets the section; it
    matters without SPARSEMEM_VMEMMAP only."""
    rollback_passes_altmap: bool
    """Whether a failed add removes its pages with the altmap it had added them with."""
    vmemmap_marks_unpopulated: Literal["always", "never", "misplaced"]
    """Whether x86 marks the parts of a huge page of vmemmap that were never populated:
    ``always``, ``never``, or ``misplaced``, in the part that is used."""
    p4d_offset_in_remove_pagetable: bool
    """Whether x86 finds the tables to free one level below the one that it comes from."""
    pgd_populate_syncs: bool
    """Whether all page tables have a new top-level entry of vmemmap as soon as one has it."""
    altmap_gives_huge_pages_only: bool
    """Whether x86 knows, when it frees, that base pages never came from an altmap."""
    arm64_frees_vmemmap: bool
    """Whether arm64 has a vmemmap_free()."""
    zone_device_init: Literal["deferred", "under_lock", "constructor"]
    """When struct pages of ZONE_DEVICE are initialised: ``deferred`` until mem_hotplug_lock is
    dropped, ``under_lock`` (and visited again for their map), or by a ``constructor`` that
    the altmap brings; without an altmap that is as under the lock."""
    memory_added_as: Callable[[MemoryClass], MemoryClass]
    """As what arch_add_memory() is told to add memory that is something."""
    memory_removed_as: Callable[[MemoryClass], MemoryClass]
    """As what arch_remove_memory() is told to remove it."""
    takes_unaddressable_memory: bool
    """Whether architectures add memory that they shall not map."""
    s390_removes_memory: bool
    """Whether s390 has an arch_remove_memory() that removes."""
    s390_has_zone_device: bool
    """Whether CONFIG_ZONE_DEVICE takes nothing that s390 does not have."""
    powerpc_has_zone_device: bool
    """Whether powerpc asks for CONFIG_ZONE_DEVICE."""
    arm64_memory_hotplug: Literal["absent", "add", "remove"]
    """What arm64 has of it: ``absent``, ``add`` (5.0) or ``remove`` as well (5.7), which
    CONFIG_ZONE_DEVICE depends on."""
    powerpc_unmaps_what_failed: bool
    """Whether powerpc unmaps what it failed to add."""
    arm64_unmaps_linear_map: bool
    """Whether arm64 unmaps what it removes, and what it failed to add."""
    arm64_maps_parts_by_base_pages: bool
    """Whether arm64 maps less than a section's memmap with base pages."""
    unused_vmemmap: UnusedVmemmap | None
    """How arm64 shares a mapping of vmemmap between several adds; None: it asks nobody."""
    powerpc_altmap_keeps_its_bounds: bool
    """Whether powerpc takes memory from an altmap only for mappings that describe nothing
    but the altmap's device."""
    vmemmap_dedup: bool
    """Whether the memmap of compound device pages is deduplicated."""
    vmemmap_dedup_needs_an_alias: bool
    """Whether only compound pages with more vmemmap pages than are kept are."""
    vmemmap_dedup_needs_the_arch: bool
    """Whether an architecture must say that it maps vmemmap by page tables."""
    dedup_initialises_early_sections: bool
    """Whether compound pages in an early section, whose memmap boot allocated and nobody
    deduplicated, have all of their struct pages initialised."""
    vmemmap_dedup_counts_references: bool
    """Whether each alias holds a reference on the page that it shares."""
