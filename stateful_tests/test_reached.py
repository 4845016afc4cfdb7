"""Every ``sometimes`` property is true of some machine that operations lead to, not of all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hotplug_model.boot import BootLayout
from hotplug_model.flags import MHP_MEMMAP_ON_MEMORY, OnlineType
from hotplug_model.invariants import SOMETIMES
from hotplug_model.ops import Op
from hotplug_model.ops.memory_block import OfflineMemoryBlock, VetoMemoryNotifier
from hotplug_model.ops.memory_failure import HardOfflinePage
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.ops.pages import PinPages
from hotplug_model.ops.user_pages import PinUserPages
from hotplug_model.ops.xen_balloon import DecreaseReservation
from stateful_tests.kernels import (
    HOLE,
    A,
    B,
    C,
    D,
    add,
    boot,
    device,
    do,
    layout,
    offline,
    online,
    pages,
    remove,
)

HOSTED = add(C, mhp_flags=MHP_MEMMAP_ON_MEMORY)
TWO_NODES = replace(layout(), nodes=2, memhp_default_state=OnlineType.MMOP_ONLINE_KERNEL)
FULL = layout("two-nodes")

REACHED: dict[str, tuple[BootLayout, tuple[Op, ...]]] = {
    "device_memory_shares_an_online_section": (layout(), (device(HOLE),)),
    "an_early_section_has_a_hole": (layout(), (device(HOLE),)),
    "a_tainted_section_has_no_device_memory": (layout(), (device(HOLE), MemunmapPages(0))),
    "a_page_is_poisoned": (layout(), (device(HOLE), MemunmapPages(0))),
    "a_page_is_stale": (layout("stale"), (device(HOLE), MemunmapPages(0))),
    "memory_is_added_but_not_online": (layout(), (add(C),)),
    "movable_memory_is_online": (layout(), (add(C), online(2, "online_movable"))),
    "kernel_memory_is_hotplugged": (layout(), (add(C), online(2))),
    "a_boot_section_was_readded": (FULL, (offline(1), remove(B), add(B))),
    "a_section_holds_two_maps": (
        layout(), (device(pages(16, 18)), device(pages(18, 20), pgmap_id=1))
    ),
    "the_memmap_lives_in_an_altmap": (layout(), (device(C, altmap=(0, 4)),)),
    "a_block_holds_its_own_memmap": (layout("memmap-on-memory"), (HOSTED, online(2))),
    "a_memmap_is_deduplicated": (layout(), (MemremapPages(0, (C,), "generic", 0, (), 3),)),
    "base_pages_hold_a_memmap": (layout(), (device(pages(16, 18)),)),
    "boot_memmap_was_freed": (FULL, (offline(1), remove(B))),
    "a_page_is_pinned_in_zone_movable": (
        layout(), (add(C), online(2, "online_movable"), PinPages(pages(16, 17)))
    ),
    "a_device_page_is_pinned": (layout(), (device(C), PinUserPages("vfio", pages(16, 17)))),
    "a_page_is_ballooned": (layout(), (DecreaseReservation(pages(8, 9)),)),
    "a_device_page_is_broken": (layout(), (device(C), HardOfflinePage(16, mapped=True))),
    "a_broken_page_is_online": (layout(), (add(C), online(2), HardOfflinePage(16))),
    "a_block_with_a_broken_page_is_offline": (
        layout(), (add(C), online(2), HardOfflinePage(16), offline(2))
    ),
    "device_spans_foreign_memory": (
        layout(), (device(HOLE), device(D, pgmap_id=1), add(C), online(2))
    ),
    "device_memory_crosses_sections": (layout(), (device(pages(14, 18)),)),
    "a_notifier_vetoes": (layout(), (VetoMemoryNotifier(online=True, offline=False),)),
    "memory_without_a_linear_map_has_struct_pages": (layout(), (device(C, kind="private"),)),
    "two_nodes_have_memory": (TWO_NODES, (add(C, nid=1),)),
}  # fmt: skip


@pytest.mark.parametrize("name", SOMETIMES.names())
def test_every_state_to_reach_can_be_reached_and_avoided(name: str) -> None:
    of, ops = REACHED[name]
    kernel = boot(of)
    seen = [SOMETIMES[name](kernel.extents())]
    for op in ops:
        assert do(kernel, op) is None
        seen.append(SOMETIMES[name](kernel.extents()))
    assert seen[-1] != seen[0]
    assert len(set(seen[:-1])) == 1


@pytest.mark.parametrize(
    ("name", "op"),
    [
        ("a_memmap_is_deduplicated", MemremapPages(0, (C,), "generic", 0, (0, 4), 3)),
        ("a_memmap_is_deduplicated", device(C)),
        ("base_pages_hold_a_memmap", device(C)),
        ("base_pages_hold_a_memmap", device(HOLE)),
        ("boot_memmap_was_freed", device(HOLE)),
        ("boot_memmap_was_freed", offline(1)),
    ],
)
def test_what_comes_near_a_state_to_reach_does_not_reach_it(name: str, op: Op) -> None:
    kernel = boot(FULL if isinstance(op, OfflineMemoryBlock) else layout())
    assert do(kernel, op) is None
    assert not SOMETIMES[name](kernel.extents())


def test_a_section_that_one_map_holds_twice_holds_one_map() -> None:
    kernel = boot()
    assert do(kernel, device(pages(16, 18), pages(20, 22))) is None
    assert not SOMETIMES["a_section_holds_two_maps"](kernel.extents())


def test_a_kernel_page_of_zone_movable_is_not_pinned_by_being_reserved() -> None:
    kernel = boot()
    assert do(kernel, add(C), online(2, "online_movable"), PinPages(A)) is None
    assert not SOMETIMES["a_page_is_pinned_in_zone_movable"](kernel.extents())
