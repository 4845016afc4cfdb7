"""What operations can do at the tiny geometry, as data: what coverage is a share of.

Mainline, with every allocation granted. Found by search; ``stateful_tests/test_floor.py``
finds nothing else, and a whole ``check --profile ci`` finds all of it.
"""

from __future__ import annotations

from hotplug_model.ops import drawn_ops

REFUSALS: dict[str, tuple[str, ...]] = {
    "online_memory_block": ("EHWPOISON", "EINVAL", "ENOENT", "EPERM"),
    "offline_memory_block": ("EBUSY", "EINTR", "EINVAL", "ENOENT", "EPERM"),
    "pin_user_pages": ("EEXIST", "EFAULT", "EOPNOTSUPP"),
    "hard_offline_page": ("EBUSY", "EHWPOISON", "ENXIO"),
    "add_memory": ("E2BIG", "EEXIST", "EINVAL"),
    "remove_memory": ("EBUSY", "EINVAL"),
    "offline_and_remove_memory": ("EBUSY", "EINTR", "EINVAL", "EPERM"),
    "memremap_pages": ("EEXIST", "EINVAL", "ENOMEM", "ENXIO"),
    "dax_kmem_probe": ("EBUSY", "EINVAL"),
    "request_mem_region": ("EBUSY",),
    "virtio_mem_probe": ("EBUSY", "EINVAL"),
}
"""Operation -> the errnos that it returns."""

IMPOSSIBLE_PAIRS = frozenset({
    ("virtio_mem_request", "virtio_mem_probe"), ("virtio_mem_remove", "virtio_mem_request"),
    ("virtio_mem_remove", "virtio_mem_remove"), ("dax_kmem_remove", "dax_kmem_remove"),
    ("virtio_mem_request", "hot_add_req"), ("virtio_mem_remove", "hot_add_req"),
    ("hot_add_req", "virtio_mem_request"), ("hot_add_req", "virtio_mem_remove"),
})  # fmt: skip
"""Operations of which the second has nothing to draw from behind the first: there is one
lender of memory, or none, and no device of virtio-mem is on Hyper-V."""


def nr_possible_pairs() -> int:
    """How many ordered pairs of operations can come one right after the other."""
    return len(drawn_ops()) ** 2 - len(IMPOSSIBLE_PAIRS)


MILESTONES = (
    "MEM_GOING_OFFLINE", "MEM_GOING_ONLINE", "adjust_present_page_count", "alloc_contig_range",
    "arch_create_linear_mapping", "arch_remove_linear_mapping", "clear_subsection_map",
    "create_memory_block_devices", "decrease_reservation", "depopulate_section_memmap",
    "dev_dax_kmem_probe", "dev_dax_kmem_remove", "device_add", "fill_subsection_map",
    "generic_online_page", "get_page", "get_pfnblock_migratetype", "hot_add_req",
    "hv_bring_pgs_online", "increase_reservation", "mem_hotplug_begin",
    "mem_hotplug_done", "memmap_init_range", "memmap_init_zone_device",
    "memmap_init_zone_device_done", "memory_block_offline", "memory_block_online", "memory_failure",
    "mhp_deinit_memmap_on_memory", "mhp_init_memmap_on_memory", "offline_mem_sections",
    "online_mem_sections", "page_init_poison", "pagemap_range", "percpu_ref_exit",
    "percpu_ref_init", "percpu_ref_kill", "pgmap_array_delete", "pgmap_array_store",
    "pin_user_pages", "populate_section_memmap", "put_page", "register_memory_notifier",
    "release_mem_region", "remove_memory", "remove_memory_block_devices",
    "remove_pfn_range_from_zone", "request_mem_region", "resize_zone_range", "section_deactivate",
    "section_mem_map_invalid", "section_taint_zone_device", "shrink_zone_span",
    "sparse_init_one_section", "start_isolate_page_range", "unpin_user_pages", "update_pgdat_span",
    "virtio_mem_bbm_plug_bb", "virtio_mem_bbm_unplug_bb", "virtio_mem_fake_offline",
    "virtio_mem_fake_online", "virtio_mem_probe", "virtio_mem_remove", "virtio_mem_run_wq",
    "virtio_mem_sbm_plug_sb", "virtio_mem_sbm_unplug_sb", "wait_for_completion",
)  # fmt: skip
"""Milestones that ``mm/`` and ``ops/`` name; the tiny geometry passes them all."""

MILESTONES_OF_CHANGES = ("__clear_hugetlb_destructor", "constructor")
"""Those that mainline never passes: a change brings them."""
MILESTONES_ON_REQUEST = (
    "hugetlb_vmemmap_restore_folio", "init_new_hugetlb_folio", "update_and_free_hugetlb_folio",
    "vmemmap_remap_free",
)  # fmt: skip
"""Those that it passes only on a boot layout that has to be asked for."""
