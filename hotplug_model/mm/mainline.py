"""Mainline, as the defaults of every variation point."""

from __future__ import annotations

from hotplug_model.mm.base_memory import cached_block_zone
from hotplug_model.mm.pfn_to_online_page import pfn_to_online_page
from hotplug_model.mm.zones import resize_zone_range, shrink_zone_span
from hotplug_model.rules import KernelRules

MAINLINE = KernelRules(
    pfn_to_online_page=pfn_to_online_page,
    online_checks_subsection="always",
    online_checks_arch_pfn_valid=True,
    walkers_check_online=True,
    section_taint_zone_device=True,
    memremap_shares_sections=True,
    page_init_poison_at_removal=True,
    remove_pfn_range_from_zone_at_offline=True,
    shrink_zone_span=shrink_zone_span,
    shrink_asks_online=True,
    resize_zone_range=resize_zone_range,
    offline_rejects_holes=True,
    block_zone=cached_block_zone,
    mhp_range_allowed_first=True,
    memmap_on_memory="per_block",
    memmap_on_memory_falls_back=True,
    hotplugged_ram_is_reserved=False,
    idle_device_private_ref=0,
    early_memmap_kept=True,
)
