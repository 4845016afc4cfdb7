"""Mainline, as the defaults of every variation point."""

from __future__ import annotations

from hotplug_model.flags import PageFlag
from hotplug_model.mm.arch_memory import as_it_is
from hotplug_model.mm.base_memory import cached_block_zone
from hotplug_model.mm.pfn_to_online_page import pfn_to_online_page
from hotplug_model.mm.zones import resize_zone_range, shrink_zone_span
from hotplug_model.rules import KernelRules

MAINLINE = KernelRules(
    pfn_to_online_page=pfn_to_online_page,
    online_checks_subsection="always",
    online_checks_arch_pfn_valid=True,
    asks_pfn_valid=frozenset(),
    section_taint_zone_device=True,
    memremap_shares_sections=True,
    page_init_poison_at_removal=True,
    remove_pfn_range_from_zone_at_offline=True,
    shrink_zone_span=shrink_zone_span,
    shrink_asks_online=True,
    resize_zone_range=resize_zone_range,
    offline_rejects_holes=True,
    block_zone=cached_block_zone,
    add_memory_takes_device_hotplug_lock=True,
    mhp_range_allowed_first=True,
    memmap_on_memory="per_block",
    memmap_on_memory_falls_back=True,
    hotplugged_ram_flag=PageFlag.PG_offline,
    zone_device_flag=PageFlag.PG_reserved,
    offlining_reserves=False,
    kvm_is_reserved_pfn="absent",
    kvm_is_mmio_pfn="reserved",
    is_invalid_reserved_pfn="reserved",
    check_page_span="absent",
    gasket_release_page="absent",
    transfer_complete_cb="absent",
    kvmppc_book3s_instantiate_page="absent",
    hash_page_do_lazy_icache="reserved",
    maybe_pte_to_page="reserved",
    ioremap_check_ram="reserved",
    offline_skips_page_offline=True,
    virtio_mem_sub_block_is_max_order=False,
    idle_device_private_ref=0,
    early_memmap_kept=True,
    boot_usage_kept=True,
    memmap_freed_before_reset=True,
    rollback_passes_altmap=True,
    vmemmap_marks_unpopulated="always",
    altmap_gives_huge_pages_only=True,
    arm64_frees_vmemmap=True,
    zone_device_init="deferred",
    memory_added_as=as_it_is,
    memory_removed_as=as_it_is,
    takes_unaddressable_memory=True,
    arm64_unmaps_linear_map=True,
    arm64_maps_parts_by_base_pages=True,
    unused_vmemmap=None,
    powerpc_altmap_keeps_its_bounds=True,
    vmemmap_dedup=True,
    vmemmap_dedup_needs_an_alias=True,
    vmemmap_dedup_needs_the_arch=True,
    dedup_initialises_early_sections=True,
    vmemmap_dedup_counts_references=True,
)
