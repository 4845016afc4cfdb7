"""Users that no page of the audit can come to, or that decide nothing about it."""

from __future__ import annotations

from hotplug_model.users.user import irrelevant

NO_DEVICE = "This architecture has neither ZONE_DEVICE nor memory hotplug."
BALLOON = (
    "It sets flags on pages that it keeps from the allocator, and never asks for PG_reserved; "
    "hv_page_online_one() asks for PageOffline, of memory that is its own. Patch 12 "
    "lets it mark them PG_reserved, which memmap_init_range() no longer does for it; without "
    "that KVM would set them dirty."
)

irrelevant("mm/page_ext.c", "A BUG_ON() about pages that it has allocated itself.", "free_page_ext")
irrelevant(
    "mm/hugetlb.c", "A WARN_ON() about huge pages that boot allocated.", "gather_bootmem_prealloc"
)
irrelevant(
    "arch/x86/kernel/alternative.c", "A WARN_ON() about the kernel's own text.", "__text_poke"
)
irrelevant("drivers/hv/hv_balloon.c", BALLOON, "hv_page_online_one")
irrelevant("drivers/xen/balloon.c", BALLOON, "xen_online_page")
irrelevant(
    "arch/ia64/kernel/mca_drv.c", "Hotplug without ZONE_DEVICE; it isolates online pages.",
    "mca_page_isolate",
)  # fmt: skip
irrelevant("arch/mips/mm/init.c", NO_DEVICE, "mem_init_free_highmem")
irrelevant("arch/mips/mm/ioremap.c", NO_DEVICE, "__ioremap_check_ram")
irrelevant("arch/nios2/mm/ioremap.c", NO_DEVICE, "ioremap")
irrelevant("arch/parisc/mm/ioremap.c", NO_DEVICE, "ioremap")
irrelevant("arch/sparc/mm/tlb.c", NO_DEVICE, "tlb_batch_add")
irrelevant("arch/xtensa/mm/cache.c", NO_DEVICE, "update_mmu_cache")
