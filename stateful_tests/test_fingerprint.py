"""A fingerprint is the state: it differs wherever a later operation could behave differently."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import TypeAlias

import pytest

from hotplug_model.checker import Checker
from hotplug_model.flags import MHP_MEMMAP_ON_MEMORY, MemmapOrigin, NotifierAction
from hotplug_model.kernel import Kernel
from hotplug_model.ops.memory_block import VetoMemoryNotifier
from hotplug_model.pfn import PfnRange
from hotplug_model.state import vmemmap
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.dev_pagemap import DevPagemap
from hotplug_model.state.faults import Allocation
from hotplug_model.state.ledger import Cause, Law, Ledger
from hotplug_model.state.memory_block import MemoryBlock
from hotplug_model.state.pfn_table import COLUMNS
from hotplug_model.state.resource import Resource
from hotplug_model.state.virtio_mem import VirtioMem
from hotplug_model.state.vmemmap import Vmemmap
from stateful_tests.kernels import (
    HOLE,
    C,
    D,
    add,
    boot,
    device,
    do,
    hold,
    online,
    pages,
    walk,
)

Change: TypeAlias = Callable[[Kernel], object]
Holder: TypeAlias = MemoryBlock | DevPagemap | Altmap | VirtioMem

NOT_PART = {
    "geometry": "shared by all states of a machine",
    "rules": "shared by all states of a machine",
    "layout": "shared by all states of a machine",
    "notified": "a record of what happened, which no operation reads",
    "faults": "what is to fail is told to every operation afresh, and counted from 0",
    "nr_memmap_pages": "a statistic that no operation reads",
    "nr_memmap_boot_pages": "a statistic that no operation reads",
    "callbacks": "follow from the lender",
    "rcu": "empty between operations; schedules compare it apart",
    "memblock": "no operation of mainline reads more of it than iomem says, too",
    "section_roots": "no operation of mainline minds whether one was there",
}
NOT_PART_OF_THE_LEDGER = {
    "operation": "who broke a law is no state",
    "lost": "what nobody has any more no operation can find",
    "cause": "told afresh by whoever frees something under a circumstance",
}


def rich() -> Kernel:
    """Every kind of thing that a machine can hold: altmaps, maps, regions, a veto, a breach."""
    kernel = boot("memmap-on-memory")
    ops = (
        device(HOLE),
        device(D, pgmap_id=1, altmap=(0, 4)),
        add(C, mhp_flags=MHP_MEMMAP_ON_MEMORY),
        online(2, "online_movable"),
        VetoMemoryNotifier(online=False, offline=True),
    )
    assert do(kernel, *ops) is None
    kernel.ledger.breach(Law.FREED_IN_USE, D)
    kernel.blocks[2].broken = (2,)
    kernel.lender = VirtioMem(
        region=D, nid=0, block_pages=8, part_pages=2, states={3: 3}, plugged={3: 5}, backed={3: 5},
    )
    return kernel


def lender(kernel: Kernel) -> VirtioMem:
    assert isinstance(kernel.lender, VirtioMem)
    return kernel.lender


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
        "lender": lender(kernel),
    }


def other(value: object) -> object:
    """A value of a field that is not *value*."""
    if isinstance(value, tuple):
        return (*value, 5 if value and isinstance(value[0], int) else pages(0, 2))
    if isinstance(value, PfnRange):
        return pages(value.start_pfn, value.end_pfn + 8)
    if isinstance(value, dict):
        return {key: each ^ 2 for key, each in value.items()}
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


def write_vmemmap(name: str) -> Change:
    return lambda kernel: kernel.vmemmap.add(PfnRange(9, 10), name, 1)


def balance(origin: MemmapOrigin) -> Change:
    return lambda kernel: kernel.ledger.freed(origin, 1)


OTHER_BREACH: dict[str, tuple[Law, PfnRange, Cause]] = {
    "law": (Law.FREED_TWICE, D, Cause.NONE),
    "start": (Law.FREED_IN_USE, pages(26, 32), Cause.NONE),
    "end": (Law.FREED_IN_USE, pages(24, 30), Cause.NONE),
    "cause": (Law.FREED_IN_USE, D, Cause.SHARED),
}


def entry_changes() -> Iterator[tuple[str, Change]]:
    """Instead of the breach that rich() has on its books, one that differs in a field."""
    for name, breach in OTHER_BREACH.items():

        def change(kernel: Kernel, breach: tuple[Law, PfnRange, Cause] = breach) -> None:
            kernel.ledger.breaches.clear()
            kernel.ledger.breach(*breach)

        yield f"ledger.breaches {name}", change


CHANGES: dict[str, Change] = {
    "devmap_managed_key": lambda k: setattr(k, "devmap_managed_key", 7),
    "num_poisoned_pages": lambda k: setattr(k, "num_poisoned_pages", 7),
    "locks": lambda k: hold(k, "mem_hotplug_lock"),
    "vetoes": lambda k: setattr(k, "vetoes", frozenset()),
    "vetoes of another action": lambda k: setattr(
        k, "vetoes", frozenset({NotifierAction.MEM_GOING_ONLINE})
    ),
    "ledger": lambda k: k.ledger.allocated(MemmapOrigin.BUDDY, 1),
    **{f"ledger.outstanding {o.name}": balance(o) for o in MemmapOrigin},
    "ledger.breaches": lambda k: k.ledger.breach(Law.FREED_TWICE, D),
    "ledger.uncounted": lambda k: k.ledger.uncounted.update({(0, 2): 1}),
    **dict(entry_changes()),
    "hugetlb": lambda k: setattr(k, "hugetlb", (pages(16, 20),)),
    "vmemmap": write_vmemmap("level"),
    **{f"vmemmap.{name}": write_vmemmap(name) for name in vmemmap.COLUMNS},
    "vmemmap.pgds": lambda k: setattr(k.vmemmap, "pgds", frozenset({7})),
    "vmemmap.unused_pmd_start": lambda k: setattr(k.vmemmap, "unused_pmd_start", 12),
    "blocks": lambda k: k.blocks.pop(2),
    "blocks' ids": lambda k: k.blocks.update({9: k.blocks.pop(2)}),
    "pgmaps": lambda k: k.pgmaps.pop(1),
    "pgmaps' ids": lambda k: k.pgmaps.update({2: k.pgmaps.pop(1)}),
    "lender": lambda k: setattr(k, "lender", None),
    "a block of the lender": lambda k: lender(k).states.update({2: 0}),
    "a bit of the lender": lambda k: lender(k).plugged.update({3: 4}),
    "a bit that the hypervisor lends": lambda k: lender(k).backed.update({3: 4}),
    "iomem": lambda k: k.iomem.request(Resource("driver", D)),
    "nodes": add_one("node_cells", 0, 0),
    "pfns": write_other("refcount"),
    **{f"pfns.{name}": write_other(name) for name in COLUMNS},
    **{f"node {i}": add_one("node_cells", 0, i) for i in range(5)},
    **{f"zone {z} {i}": add_one("zone_cells", 0, z, i) for z in range(5) for i in range(5)},
    # ZONE_DMA32 is empty, and nobody can know of a hole in it.
    **{f"zone {z} 5": add_one("zone_cells", 0, z, 5) for z in (0, 2, 3, 4)},
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


def test_every_field_of_a_ledger_is_in_its_fingerprint_or_says_why_not() -> None:
    names = {field.name for field in fields(Ledger)}
    seen = {name.split()[0].removeprefix("ledger.") for name in CHANGES if "ledger." in name}
    assert names == NOT_PART_OF_THE_LEDGER.keys() | seen


def test_every_column_and_slot_of_vmemmap_is_in_its_fingerprint() -> None:
    remembered = {"_live", "_print"}
    table = set(Vmemmap.__slots__) - remembered | set(vmemmap.COLUMNS)
    assert table == {name.removeprefix("vmemmap.") for name in CHANGES if "vmemmap." in name}


def test_what_is_remembered_of_vmemmap_is_forgotten_with_every_write() -> None:
    table = rich().vmemmap
    everything = rich().geometry.vmemmap_pages
    old_print, old_live = table.fingerprint(), table.live_pages()
    table.write(everything, level=1, origin=2, offset=0, tail=-1, period=0, phase=0)
    assert table.fingerprint() != old_print
    assert table.live_pages() != old_live
    twin = table.copy()
    table.merge()
    assert (twin.fingerprint() == table.fingerprint()) == (twin.nr_runs == table.nr_runs)


def test_the_nature_of_the_breach_decides_not_who_committed_it() -> None:
    first, second = rich(), rich()
    for kernel, operation in ((first, "one"), (second, "another")):
        kernel.ledger.operation = operation
        kernel.ledger.breach(Law.FREED_TWICE, C)
    assert first.ledger.breaches != second.ledger.breaches
    assert first.fingerprint() == second.fingerprint()


UNSEEN: dict[str, Change] = {
    "faults": lambda k: k.faults.arm("usage:1"),
    "what was allocated": lambda k: k.faults.allocate(Allocation.USAGE),
    "nr_memmap_pages": lambda k: setattr(k, "nr_memmap_pages", k.nr_memmap_pages + 1),
    "nr_memmap_boot_pages": lambda k: setattr(k, "nr_memmap_boot_pages", 0),
    "ledger.operation": lambda k: setattr(k.ledger, "operation", "another"),
    "ledger.cause": lambda k: setattr(k.ledger, "cause", Cause.PRIVATE),
}


@pytest.mark.parametrize("what", UNSEEN)
def test_a_fingerprint_does_not_see(what: str) -> None:
    kernel = rich()
    UNSEEN[what](kernel)
    assert kernel.fingerprint() == rich().fingerprint()


def test_a_snapshot_keeps_the_statistics_and_forgets_what_was_to_fail() -> None:
    kernel = rich()
    kernel.faults.arm("usage:1")
    twin = kernel.snapshot()
    counted = (twin.nr_memmap_pages, twin.nr_memmap_boot_pages)
    assert counted == (kernel.nr_memmap_pages, kernel.nr_memmap_boot_pages) == (8, 8)
    assert (twin.faults.fail_at, twin.faults.failed) == (None, None)


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
