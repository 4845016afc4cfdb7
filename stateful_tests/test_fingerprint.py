"""A fingerprint is the state: it differs wherever a later operation could behave differently."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import TypeAlias

import pytest

from hotplug_model.checker import Checker
from hotplug_model.flags import MHP_MEMMAP_ON_MEMORY, NotifierAction
from hotplug_model.kernel import Kernel
from hotplug_model.ops.memory_block import VetoMemoryNotifier
from hotplug_model.pfn import PfnRange
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.dev_pagemap import DevPagemap
from hotplug_model.state.memory_block import MemoryBlock
from hotplug_model.state.pfn_table import COLUMNS
from hotplug_model.state.resource import Resource
from stateful_tests.kernels import (
    HOLE,
    C,
    D,
    add,
    boot,
    device,
    do,
    online,
    pages,
    walk,
)

Change: TypeAlias = Callable[[Kernel], object]
Holder: TypeAlias = MemoryBlock | DevPagemap | Altmap

NOT_PART = {
    "geometry": "shared by all states of a machine",
    "rules": "shared by all states of a machine",
    "layout": "shared by all states of a machine",
    "notified": "a record of what happened, which no operation reads",
}


def rich() -> Kernel:
    """Every kind of thing that a machine can hold: altmaps, maps, regions, a veto."""
    kernel = boot("memmap-on-memory")
    ops = (
        device(HOLE),
        device(D, pgmap_id=1, altmap=(1, 3)),
        add(C, mhp_flags=MHP_MEMMAP_ON_MEMORY),
        online(2, "online_movable"),
        VetoMemoryNotifier(online=False, offline=True),
    )
    assert do(kernel, *ops) is None
    return kernel


def altmap(holder: MemoryBlock | DevPagemap) -> Altmap:
    assert holder.altmap is not None
    return holder.altmap


def holders(kernel: Kernel) -> dict[str, Holder]:
    """What is part of a machine and has fields of its own."""
    block, pgmap = kernel.blocks[2], kernel.pgmaps[1]
    return {
        "block": block,
        "block.altmap": altmap(block),
        "pgmap": pgmap,
        "pgmap.altmap": altmap(pgmap),
    }


def other(value: object) -> object:
    """A value of a field that is not *value*."""
    if isinstance(value, tuple):
        return (*value, pages(0, 2))
    return value + 1 if isinstance(value, int) else None


def field_changes() -> Iterator[tuple[str, Change]]:
    for kind, holder in holders(rich()).items():
        for field in fields(holder):

            def change(kernel: Kernel, kind: str = kind, name: str = field.name) -> None:
                holder = holders(kernel)[kind]
                setattr(holder, name, other(getattr(holder, name)))

            yield f"{kind}.{field.name}", change


def add_one(cells: str, *index: int) -> Change:
    def change(kernel: Kernel) -> None:
        getattr(kernel.nodes, cells)[index] += 1

    return change


def write_other(name: str) -> Change:
    return lambda kernel: kernel.pfns.add(PfnRange(5, 6), name, 1)


CHANGES: dict[str, Change] = {
    "locks": lambda k: k.locks.take("mem_hotplug"),
    "vetoes": lambda k: setattr(k, "vetoes", frozenset()),
    "vetoes of another action": lambda k: setattr(
        k, "vetoes", frozenset({NotifierAction.MEM_GOING_ONLINE})
    ),
    "wild_frees": lambda k: setattr(k, "wild_frees", 1),
    "blocks": lambda k: k.blocks.pop(2),
    "blocks' ids": lambda k: k.blocks.update({9: k.blocks.pop(2)}),
    "pgmaps": lambda k: k.pgmaps.pop(1),
    "pgmaps' ids": lambda k: k.pgmaps.update({2: k.pgmaps.pop(1)}),
    "iomem": lambda k: k.iomem.request(Resource("driver", D)),
    "nodes": add_one("node_cells", 0, 0),
    "pfns": write_other("refcount"),
    **{f"pfns.{name}": write_other(name) for name in COLUMNS},
    **{f"node {i}": add_one("node_cells", 0, i) for i in range(3)},
    **{f"zone {z} {i}": add_one("zone_cells", 0, z, i) for z in range(5) for i in range(4)},
    **dict(field_changes()),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_fingerprint_sees(what: str) -> None:
    kernel = rich()
    CHANGES[what](kernel)
    assert kernel.fingerprint() != rich().fingerprint()


@pytest.mark.parametrize("what", CHANGES)
def test_a_snapshot_does_not_see(what: str) -> None:
    kernel = rich()
    before, twin = kernel.fingerprint(), kernel.snapshot()
    CHANGES[what](kernel)
    assert twin.fingerprint() == before


def test_every_field_of_a_kernel_is_in_its_fingerprint_or_says_why_not() -> None:
    names = {field.name for field in fields(Kernel)}
    assert names == NOT_PART.keys() | {name for name in CHANGES if name in names}


def test_a_snapshot_is_equal_and_records_its_own_notifications() -> None:
    kernel = rich()
    twin = kernel.snapshot()
    assert twin.fingerprint() == kernel.fingerprint()
    twin.notified.clear()
    assert kernel.notified


def test_the_same_operations_lead_to_the_same_fingerprint() -> None:
    for name in ("collision", "two-nodes", "memmap-on-memory"):
        first, second = (Checker(boot(name)) for _ in range(2))
        for _ in zip(walk(first, 3, 12), walk(second, 3, 12), strict=True):
            assert first.kernel.fingerprint() == second.kernel.fingerprint()


def test_looking_does_not_change_the_machine() -> None:
    kernel = rich()
    before = kernel.fingerprint()
    Checker(kernel).look("midway")
    assert kernel.fingerprint() == before


def test_the_order_in_which_blocks_and_maps_came_does_not_matter() -> None:
    one, two = device(pages(12, 14)), device(pages(14, 16), pgmap_id=1)
    first, second = boot(), boot()
    assert do(first, add(C), add(D), one, two) is None
    assert do(second, add(D), add(C), two, one) is None
    assert first.fingerprint() == second.fingerprint()
