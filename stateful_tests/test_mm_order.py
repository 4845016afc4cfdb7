"""The order in which the kernel's stores become visible, operation by operation.

A star marks what passes with mem_hotplug_lock held for writing.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hotplug_model import steps
from hotplug_model.changes import KernelVariant
from hotplug_model.errors import ModelError
from hotplug_model.flags import MHP_MEMMAP_ON_MEMORY
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.ops import Op
from hotplug_model.ops.memory_block import VetoMemoryNotifier
from hotplug_model.ops.memory_hotplug import OfflineAndRemoveMemory
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.ops.pages import PinPages
from hotplug_model.rules import KernelRules
from stateful_tests.kernels import (
    HOLE,
    B,
    C,
    add,
    boot,
    device,
    do,
    hold,
    offline,
    online,
    pages,
    remove,
)

HOSTED = add(C, mhp_flags=MHP_MEMMAP_ON_MEMORY)
CD = pages(16, 32)

SPARSE_ADD = "fill_subsection_map* populate_section_memmap* page_init_poison* " + (
    "sparse_init_one_section*"
)
REUSE = "fill_subsection_map* page_init_poison* sparse_init_one_section*"
SECTION_GOES = (
    "clear_subsection_map* section_mem_map_invalid* depopulate_section_memmap* section_deactivate*"
)
PIECE_GOES = "clear_subsection_map* depopulate_section_memmap*"
ZONE_GIVES_UP = "remove_pfn_range_from_zone* shrink_zone_span* update_pgdat_span*"
TO_ZONE = "resize_zone_range* memmap_init_range*"
TO_DEVICE = "resize_zone_range* section_taint_zone_device* memmap_init_range*"
DEVICE_INIT = "memmap_init_zone_device memmap_init_zone_device_done pagemap_range"
ONLINE = "MEM_GOING_ONLINE* generic_online_page* online_mem_sections* adjust_present_page_count*"
OFFLINE = (
    "start_isolate_page_range* MEM_GOING_OFFLINE* offline_mem_sections* adjust_present_page_count*"
)
MAPPED, UNMAPPED = "arch_create_linear_mapping*", "arch_remove_linear_mapping*"
REGISTERED = "device_add* create_memory_block_devices*"
ADDED = f"mem_hotplug_begin* {MAPPED} {SPARSE_ADD} {REGISTERED}"
WENT_ONLINE = f"{TO_ZONE} {ONLINE} memory_block_online"
WENT_OFFLINE = f"{OFFLINE} {ZONE_GIVES_UP} memory_block_offline"
DYING = "percpu_ref_kill wait_for_completion"

ORDERS: dict[str, tuple[str, tuple[Op, ...], Op, str]] = {
    "add_memory": ("collision", (), add(C), f"{ADDED} mem_hotplug_done"),
    "add_memory of two sections": (
        "collision", (), add(CD),
        f"mem_hotplug_begin* {MAPPED} {SPARSE_ADD} {SPARSE_ADD} device_add* {REGISTERED} "
        "mem_hotplug_done",
    ),
    "add_memory with a memmap a block": (
        "memmap-on-memory", (), add(CD, mhp_flags=MHP_MEMMAP_ON_MEMORY),
        f"{ADDED} {MAPPED} {SPARSE_ADD} {REGISTERED} mem_hotplug_done",
    ),
    "add_memory with auto online": (
        "auto-online", (), add(C), f"{ADDED} mem_hotplug_done {WENT_ONLINE}"
    ),
    "add_memory whose second block fails": (
        "memmap-on-memory", (device(pages(28, 30)),), add(CD, mhp_flags=MHP_MEMMAP_ON_MEMORY),
        f"{ADDED} {MAPPED} remove_memory_block_devices* {SECTION_GOES} {UNMAPPED}",
    ),
    "online": ("collision", (add(C),), online(2), WENT_ONLINE),
    "online a block with its own memmap": (
        "memmap-on-memory", (HOSTED,), online(2),
        f"{TO_ZONE} mhp_init_memmap_on_memory* {WENT_ONLINE}",
    ),
    "a vetoed online": (
        "collision", (add(C), VetoMemoryNotifier(True, False)), online(2),
        f"{TO_ZONE} {ZONE_GIVES_UP}",
    ),
    "a vetoed online of a block with its own memmap": (
        "memmap-on-memory", (HOSTED, VetoMemoryNotifier(True, False)), online(2),
        f"{TO_ZONE} mhp_init_memmap_on_memory* {TO_ZONE} {ZONE_GIVES_UP} {ZONE_GIVES_UP} "
        "mhp_deinit_memmap_on_memory*",
    ),
    "offline": ("collision", (add(C), online(2)), offline(2), WENT_OFFLINE),
    "offline a block with its own memmap": (
        "memmap-on-memory", (HOSTED, online(2)), offline(2),
        f"{OFFLINE} {ZONE_GIVES_UP} {ZONE_GIVES_UP} mhp_deinit_memmap_on_memory* "
        "memory_block_offline",
    ),
    "an interrupted offline": (
        "collision", (add(C), online(2, "online_movable"), PinPages(pages(17, 18))), offline(2),
        "start_isolate_page_range* MEM_GOING_OFFLINE*",
    ),
    "a vetoed offline": (
        "collision", (add(C), online(2), VetoMemoryNotifier(False, True)), offline(2),
        "start_isolate_page_range*",
    ),
    "an offline of what cannot move": ("collision", (add(C), online(2)), offline(2, True), ""),
    "remove_memory": (
        "collision", (add(C),), remove(C),
        f"remove_memory_block_devices* {SECTION_GOES} {UNMAPPED} remove_memory",
    ),
    "remove_memory of blocks with their own memmaps": (
        "memmap-on-memory", (add(CD, mhp_flags=MHP_MEMMAP_ON_MEMORY),), remove(CD),
        f"remove_memory_block_devices* {SECTION_GOES} {UNMAPPED} "
        f"remove_memory_block_devices* {SECTION_GOES} {UNMAPPED} remove_memory",
    ),
    "remove_memory of a boot section": (
        "two-nodes", (offline(1),), remove(B),
        f"remove_memory_block_devices* {SECTION_GOES} {UNMAPPED} remove_memory",
    ),
    "offline_and_remove_memory": (
        "collision", (add(C), online(2)), OfflineAndRemoveMemory(C, False),
        f"{WENT_OFFLINE} remove_memory_block_devices* {SECTION_GOES} {UNMAPPED} remove_memory",
    ),
    "offline_and_remove_memory that rolls back": (
        "collision", (add(CD), online(2), online(3), PinPages(pages(30, 31))),
        OfflineAndRemoveMemory(CD, False), f"{WENT_OFFLINE} {WENT_ONLINE}",
    ),
    "memremap_pages in a hole": (
        "collision", (), device(HOLE),
        f"percpu_ref_init pgmap_array_store {MAPPED} {REUSE} {TO_DEVICE} {DEVICE_INIT}",
    ),
    "memremap_pages of two sections": (
        "collision", (), device(CD),
        f"percpu_ref_init pgmap_array_store {MAPPED} {SPARSE_ADD} {SPARSE_ADD} {TO_DEVICE} "
        f"{DEVICE_INIT}",
    ),
    "memremap_pages that fails midway": (
        "collision", (), device(CD, altmap=(0, 4)),
        f"percpu_ref_init pgmap_array_store {MAPPED} {SPARSE_ADD} fill_subsection_map* "
        f"{SECTION_GOES} {DYING} percpu_ref_exit",
    ),
    "memunmap_pages in a hole": (
        "collision", (device(HOLE),), MemunmapPages(0),
        f"{DYING} remove_pfn_range_from_zone* {PIECE_GOES} {UNMAPPED} pgmap_array_delete "
        "percpu_ref_exit",
    ),
    "memunmap_pages of two ranges": (
        "collision", (device(C, HOLE),), MemunmapPages(0),
        f"{DYING} remove_pfn_range_from_zone* {SECTION_GOES} {UNMAPPED} pgmap_array_delete "
        f"remove_pfn_range_from_zone* {PIECE_GOES} {UNMAPPED} pgmap_array_delete "
        "percpu_ref_exit",
    ),
    "memremap_pages of what the CPU cannot reach": (
        "collision", (), device(C, kind="private"),
        f"percpu_ref_init pgmap_array_store {SPARSE_ADD} {TO_DEVICE} {DEVICE_INIT}",
    ),
    "memunmap_pages of what the CPU cannot reach": (
        "collision", (device(C, kind="private"),), MemunmapPages(0),
        f"{DYING} remove_pfn_range_from_zone* {SECTION_GOES} pgmap_array_delete percpu_ref_exit",
    ),
}  # fmt: skip


def passed(of: str, before: tuple[Op, ...], op: Op, rules: KernelRules = MAINLINE) -> list[str]:
    kernel = boot(of, rules=rules)
    assert do(kernel, *before) is None
    seen: list[str] = []

    def at(milestone: str) -> None:
        seen.append(milestone + "*" * kernel.locks.mem_hotplug)

    steps.run(op.steps(kernel), at)
    return seen


@pytest.mark.parametrize("name", ORDERS)
def test_the_order_of_milestones_is_the_kernels(name: str) -> None:
    of, before, op, order = ORDERS[name]
    assert passed(of, before, op) == order.split()


def test_before_5_5_a_zone_gives_up_its_pages_at_removal() -> None:
    rules = replace(MAINLINE, remove_pfn_range_from_zone_at_offline=False)
    gone = passed("collision", (add(C), online(2)), offline(2), rules)
    assert gone == [*OFFLINE.split(), "memory_block_offline"]
    removed = passed("collision", (add(C), online(2), offline(2)), remove(C), rules)
    expected = f"remove_memory_block_devices* {ZONE_GIVES_UP} {SECTION_GOES} {UNMAPPED} "
    expected += "remove_memory"
    assert removed == expected.split()


def test_before_6_8_block_devices_go_without_mem_hotplug_lock() -> None:
    rules = KernelVariant.named("6.5", ()).rules()
    assert passed("collision", (add(C),), remove(C), rules)[0] == "remove_memory_block_devices"


def test_without_the_taint_the_order_has_no_place_for_it() -> None:
    rules = replace(MAINLINE, section_taint_zone_device=False)
    assert "section_taint_zone_device*" not in passed("collision", (), device(HOLE), rules)


def test_a_lock_that_is_held_is_not_taken_again() -> None:
    kernel = boot()
    hold(kernel, "mem_hotplug_lock")
    with pytest.raises(ModelError, match="taken twice"):
        hold(kernel, "mem_hotplug_lock")


def test_a_lock_that_is_free_is_not_dropped() -> None:
    with pytest.raises(ModelError, match="not held"):
        boot().locks.drop("device_hotplug_lock")
