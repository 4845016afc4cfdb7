"""Fewer operations of the kinds that are in a trace, or stand for them; and what is drawn once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hotplug_model.boot import LAYOUTS
from hotplug_model.bug import bug_of
from hotplug_model.certify import BUDGET, certify
from hotplug_model.fewer import LONGEST, fewer_kinds, with_fewer
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.normal_form import PLAIN, plain
from hotplug_model.ops import Op, every
from hotplug_model.ops.dax_kmem import DaxKmemProbe, DaxKmemRemove
from hotplug_model.ops.every import UNUSUAL, Drawn, draws, every_op, kinds_named
from hotplug_model.ops.hv_balloon import HotAddReq
from hotplug_model.ops.memory_block import OfflineMemoryBlock, OnlineMemoryBlock
from hotplug_model.ops.memory_failure import HardOfflinePage
from hotplug_model.ops.memory_hotplug import AddMemory, OfflineAndRemoveMemory, RemoveMemory
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.ops.virtio_mem import VirtioMemProbe, VirtioMemRemove, VirtioMemRequest
from hotplug_model.trace import replay
from stateful_tests.kernels import HOLE, C, add, device, do, online
from stateful_tests.traces import collision, of_change, suspicion_of

TINY = GEOMETRIES["tiny"]
BOOTS = tuple(make(TINY) for make in LAYOUTS)


def test_what_a_driver_does_in_two_steps_the_core_does_in_one() -> None:
    events = (VirtioMemProbe(C, 0, 2, False), VirtioMemRequest(2), online(2, "online"))
    trace = of_change("7cf209ba8a86", *events)
    suspicion = suspicion_of(trace)
    shorter = with_fewer(suspicion, trace, (), 300)
    assert shorter is not None
    assert [type(event) for event in shorter.events] == [AddMemory, OnlineMemoryBlock]
    assert bug_of(replay(shorter)[1]) == suspicion.bug
    assert len(certify(trace).events) == 2
    assert with_fewer(suspicion, trace, (), 1) is None
    assert with_fewer(suspicion, shorter, BOOTS, 300) is None


def test_what_is_there_for_its_numbers_only_is_done_without() -> None:
    """A hole between memory that is online and another block: by a device, or by the next block."""
    gone = (device(HOLE), MemunmapPages(0))
    trace = of_change("00d6c019b5bc", DaxKmemProbe((C,), 0), *gone, online(2, "online"))
    minimal = certify(trace)
    assert [type(event) for event in minimal.events] == [AddMemory, OnlineMemoryBlock]


def test_fewer_operations_on_another_machine_are_tried_without_unusual_choices() -> None:
    trace = of_change(
        "poison-counted-in-memmap",
        HardOfflinePage(2, False), add(C), OfflineAndRemoveMemory(C, False),
    )  # fmt: skip
    assert with_fewer(suspicion_of(trace), trace, (), BUDGET) is None
    shorter = with_fewer(suspicion_of(trace), trace, BOOTS, BUDGET)
    assert shorter is not None
    assert (shorter.boot, len(shorter.events)) == (LAYOUTS["two-nodes"](TINY), 2)


def test_every_kind_of_a_driver_stands_for_what_the_core_does() -> None:
    trace = replace(collision(), events=(VirtioMemProbe(C, 0, 2, False), VirtioMemRequest(2)))
    assert plain((*trace.events, RemoveMemory(C))) == (AddMemory, OfflineAndRemoveMemory)
    assert list(fewer_kinds(trace)) == [(AddMemory,), (VirtioMemProbe,), (VirtioMemRequest,)]
    probed = (VirtioMemProbe(C, 0, 2, False), VirtioMemRequest(2), VirtioMemRemove())
    for events in (probed, (DaxKmemProbe((C,), 0), DaxKmemRemove())):
        assert plain(events) == (AddMemory, OfflineAndRemoveMemory)
    assert PLAIN[HotAddReq] == (AddMemory,)
    assert {*PLAIN, *(kind for core in PLAIN.values() for kind in core)} <= set(kinds_named(()))


def test_what_was_drawn_is_remembered_by_state() -> None:
    kernel = collision().machine().kernel
    drawn, whole = Drawn(), list(every_op(kernel, (AddMemory, MemremapPages), UNUSUAL))
    some = drawn.every_op(kernel, (AddMemory, MemremapPages), UNUSUAL)
    assert [next(some) for _ in range(20)] == whole[:20]
    assert list(drawn.every_op(kernel, (AddMemory, MemremapPages), UNUSUAL)) == whole
    assert list(some) == whole[20:]
    assert list(drawn.every_op(kernel, (AddMemory,), 0)) == list(every_op(kernel, (AddMemory,), 0))
    do(kernel, add(C))
    assert list(drawn.every_op(kernel, (AddMemory, MemremapPages), UNUSUAL)) == list(
        every_op(kernel, (AddMemory, MemremapPages), UNUSUAL)
    )
    faulty = list(drawn.every_op(kernel, (AddMemory,), UNUSUAL, faults=True))
    assert faulty == list(every_op(kernel, (AddMemory,), UNUSUAL, faults=True))


def test_a_machine_that_boots_otherwise_draws_for_itself() -> None:
    one, other = (
        replace(collision(), boot=LAYOUTS[name](TINY)).machine().kernel
        for name in ("collision", "memmap-on-memory")
    )
    assert one.fingerprint() == other.fingerprint()
    drawn = Drawn()
    assert len(list(drawn.every_op(one, (AddMemory,), UNUSUAL))) == 12
    assert list(drawn.every_op(other, (AddMemory,), UNUSUAL)) == list(
        every_op(other, (AddMemory,), UNUSUAL)
    )


def test_what_is_remembered_is_not_drawn_again_and_has_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawings: list[str] = []

    def watched(kernel: Kernel, cls: type[Op], unusual: int = UNUSUAL) -> Iterator[Op]:
        drawings.append(cls.op_name())
        return draws(kernel, cls, unusual)

    monkeypatch.setattr(every, "draws", watched)
    kernel = collision().machine().kernel
    drawn, kinds = Drawn(), (AddMemory, OfflineMemoryBlock)
    for _ in range(2):
        list(drawn.every_op(kernel, kinds, 0))
    assert drawings == ["add_memory", "offline_memory_block"]
    monkeypatch.setattr(Drawn, "MOST", 1)
    for _ in range(2):
        assert list(drawn.every_op(kernel, kinds, 1)) == list(every_op(kernel, kinds, 1))
    assert drawings.count("add_memory") == 1 + 2 * 2


def test_of_a_long_trace_no_kinds_are_chosen() -> None:
    gone = (device(HOLE), MemunmapPages(0))
    trace = of_change("00d6c019b5bc", DaxKmemProbe((C,), 0), *gone, online(2, "online"))
    long = replace(trace, events=(*[add(C)] * LONGEST, *trace.events))
    assert with_fewer(suspicion_of(trace), trace, (), BUDGET // 2) is not None
    assert with_fewer(suspicion_of(trace), long, (), BUDGET // 2) is None
