"""Two operations drawn in flight together: what is drawn, and what it finds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from hotplug_model import machine, together
from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import KernelVariant
from hotplug_model.check import CheckRequest, check
from hotplug_model.checker import Checker
from hotplug_model.errors import ModelError
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.machine import MemoryHotplug, PackedChooser, Run, case_for, machine_for
from hotplug_model.ops import OPS, Op, drawn_ops
from hotplug_model.ops.interleave import Interleave
from hotplug_model.ops.memory_block import OnlineMemoryBlock
from hotplug_model.ops.memory_hotplug import AddMemory, OfflineAndRemoveMemory, RemoveMemory
from hotplug_model.ops.memremap import MemremapPages
from hotplug_model.ops.virtio_mem import VirtioMemProbe, VirtioMemRemove, VirtioMemRequest
from hotplug_model.ops.walk import Walk
from hotplug_model.pfn import PfnRange
from hotplug_model.settings import Profile
from hotplug_model.together import (
    MAX_SWITCHES,
    draw_one,
    draw_together,
    drawn_layouts,
    may_meet,
    nr_milestones,
    scheduled,
)
from hotplug_model.walk import SeededChooser, WalkRequest, walk
from stateful_tests.kernels import HOLE, C, D, add, boot, device, do, offline, online

KINDS = list(drawn_ops().values())
PROBE = VirtioMemProbe(D, 0, 2, False)


def walked(steps: int, seed: int) -> WalkRequest:
    layouts = {name: make(GEOMETRIES["tiny"]) for name, make in LAYOUTS.items()}
    return WalkRequest(
        variant=KernelVariant(), geometry="tiny", layouts=layouts, seed=seed, steps=steps,
        races=True,
    )  # fmt: skip


# The schedule


@pytest.mark.parametrize(
    ("wishes", "turns"),
    [
        ((), ()),
        ((0,), ((0, 1),)),
        ((4, 0), ((0, 5), (1, 1))),
        ((5,), ((0, 1),)),
        ((0, 2, 0), ((0, 1), (1, 3), (0, 1))),
        ((0, 2, 3, 0), ((0, 1), (1, 3), (0, 4))),
    ],
)
def test_a_wish_is_where_an_operation_is_left(
    wishes: tuple[int, ...], turns: tuple[tuple[int, int], ...]
) -> None:
    assert scheduled((5, 3), wishes) == turns


def test_an_operation_without_milestones_has_no_turn() -> None:
    assert scheduled((0, 3), (0, 0)) == ()


def test_nothing_chosen_is_two_operations_one_after_the_other() -> None:
    op = draw_together(boot(), KINDS, PackedChooser(0))
    assert isinstance(op, Interleave)
    assert op.turns == ()


def test_milestones_are_those_of_the_operation_alone() -> None:
    outcome = Checker(boot()).apply(add(C))
    assert nr_milestones(boot(), add(C)) == len(outcome.milestones) > 3
    failing = replace(add(C), fail_at="memory_block")
    assert nr_milestones(boot(), failing) == len(Checker(boot()).apply(failing).milestones)


@pytest.mark.parametrize("faults", [False, True])
def test_schedules_of_every_length_are_drawn(faults: bool) -> None:
    drawn = [draw_together(boot(), KINDS, SeededChooser(3, n), faults) for n in range(120)]
    lengths = {len(op.turns) for op in drawn if isinstance(op, Interleave)}
    assert lengths == set(range(MAX_SWITCHES + 1))
    failing = [op for op in drawn if isinstance(op, Interleave)
               if any(each.fail_at for each in op.contexts)]  # fmt: skip
    assert bool(failing) == faults


def test_the_second_may_be_one_that_the_first_makes_possible() -> None:
    kernel, kinds = boot(), [OPS["memremap_pages"], OPS["memunmap_pages"]]
    drawn = [draw_together(kernel, kinds, SeededChooser(5, n)) for n in range(60)]
    second = {op.contexts[1].op_name() for op in drawn if isinstance(op, Interleave)}
    assert "memunmap_pages" in second


# Who may ask at once


@pytest.mark.parametrize("other", [add(D), device(D), VirtioMemRemove(), PROBE], ids=str)
def test_memory_that_a_driver_has_is_no_one_else_s(other: Op) -> None:
    may = isinstance(other, VirtioMemRemove | VirtioMemProbe)
    assert may_meet(PROBE, other) == may_meet(other, PROBE) == may


@pytest.mark.parametrize("resized", [VirtioMemRequest(8), VirtioMemRemove()], ids=str)
def test_what_the_driver_s_mutex_keeps_apart_is_not_asked_for_at_once(resized: Op) -> None:
    for block in (online(2), offline(2), OfflineAndRemoveMemory(C, False)):
        assert not may_meet(block, resized)
        assert not may_meet(resized, block)
    assert may_meet(resized, add(C))


@pytest.mark.parametrize("remover", [RemoveMemory(C), OfflineAndRemoveMemory(C, False)], ids=str)
def test_nobody_maps_what_another_removes(remover: Op) -> None:
    assert not may_meet(remover, device(C))
    assert not may_meet(device(D, C), remover)
    assert may_meet(remover, device(D))


def test_nobody_removes_what_is_only_in_part_there() -> None:
    both = PfnRange(C.start_pfn, D.end_pfn)
    for remover in (RemoveMemory(both), OfflineAndRemoveMemory(both, False)):
        for other in (add(D), RemoveMemory(D), OfflineAndRemoveMemory(C, False)):
            assert not may_meet(remover, other)
            assert not may_meet(other, remover)
    assert may_meet(RemoveMemory(C), add(C))
    assert may_meet(RemoveMemory(C), OfflineAndRemoveMemory(D, False))


def test_other_memory_is_anybody_s() -> None:
    assert may_meet(PROBE, add(C))
    assert may_meet(add(C), add(C))


def test_what_nobody_asks_for_at_once_is_drawn_alone() -> None:
    kinds: list[type[Op]] = [VirtioMemProbe, MemremapPages, AddMemory]
    drawn = [draw_together(boot(), kinds, SeededChooser(7, n)) for n in range(60)]
    assert {type(op) for op in drawn} > {Interleave}
    for op in drawn:
        if isinstance(op, Interleave):
            assert may_meet(*op.contexts)


def lent() -> Kernel:
    kernel = boot()
    assert Checker(kernel).apply(PROBE).refusal is None
    return kernel


@pytest.mark.parametrize("left", range(1, 9))
def test_a_driver_that_is_unloaded_waits_for_its_work(left: int) -> None:
    checker = Checker(lent())
    outcome = checker.apply(Interleave((VirtioMemRequest(8), VirtioMemRemove()), ((0, left),)))
    assert "B: waits for virtio_mem work" in outcome.milestones
    assert outcome.violations == []
    assert checker.kernel.lender is None


def test_work_that_was_not_begun_when_the_driver_went_is_not_done() -> None:
    ops = (VirtioMemRemove(), VirtioMemRemove(), VirtioMemRequest(8))
    milestones = Checker(lent()).apply(Interleave(ops, ())).milestones
    assert milestones[1:] == ["A: returns", "B: returns -ENODEV", "C: returns -ENODEV"]


# What it finds

UNDONE = KernelVariant.named(None, ("8df1d0e4a265",))


def test_it_finds_operations_that_wait_for_one_another() -> None:
    kinds: list[type[Op]] = [AddMemory, OnlineMemoryBlock]
    booted, sound = boot(rules=UNDONE.rules()), set[bytes]()
    for number in range(400):
        checker = Checker(booted.snapshot(), sound=sound)
        op = draw_together(checker.kernel, kinds, SeededChooser(1, number))
        if found := checker.apply(op).violations:
            break
    assert [violation.invariant for violation in found] == ["nobody_waits_for_ever"]
    assert isinstance(op, Interleave)
    assert op.turns


@pytest.mark.unmeasured
def test_it_finds_walkers_that_come_too_late() -> None:
    kinds: list[type[Op]] = [OfflineAndRemoveMemory]
    start, sound = Checker(boot()), set[bytes]()
    for op in (add(C), online(2)):
        start.apply(op)
    for number in range(400):
        checker = Checker(start.kernel.snapshot(), sound=sound)
        op = draw_together(checker.kernel, kinds, SeededChooser(2, number))
        outcome = checker.apply(op)
        assert outcome.violations == []
        if "walkers-race-with-offlining" in {violation.defect for violation in outcome.known}:
            break
    assert outcome.known
    assert isinstance(op, Interleave)
    assert isinstance(op.contexts[0], Walk)


@pytest.mark.unmeasured
def test_mainline_holds_and_a_walk_says_how_much_it_drew() -> None:
    report = walk(walked(240, 5))
    assert report.verdict == "held"
    assert report.coverage.outcomes["interleave"]["ok"] > 30
    assert all("interleave" not in pair for pair in report.coverage.pairs)
    again = walk(replace(walked(240, 5), workers=2))
    assert again.coverage.to_json() == report.coverage.to_json()


@pytest.mark.unmeasured
def test_hypothesis_draws_them_when_asked_to() -> None:
    layouts = {"collision": LAYOUTS["collision"](GEOMETRIES["tiny"])}
    profile = Profile(examples=12, steps=20)
    request = CheckRequest(variant=KernelVariant(), geometry="tiny", layouts=layouts,
        profile=profile, races=True)  # fmt: skip
    report = check(request)
    assert report.verdict == "held"
    assert report.coverage.outcomes["interleave"]["ok"]
    assert "interleave" not in check(replace(request, races=False)).coverage.outcomes


@pytest.mark.parametrize("races", [False, True])
def test_a_case_draws_them_when_asked_to(races: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[type[MemoryHotplug]] = []

    def made_for(run: Run) -> type[MemoryHotplug]:
        made.append(machine_for(run))
        return made[-1]

    monkeypatch.setattr(machine, "machine_for", made_for)
    case_for(races=races)
    assert made[0].run.races == races


# One at a time


def test_where_no_kind_is_enabled_others_are_drawn() -> None:
    kinds = [OPS["memunmap_pages"]]
    drawn = {draw_one(boot(), kinds, SeededChooser(0, n)).op_name() for n in range(9)}
    assert "memunmap_pages" not in drawn
    assert drawn


def test_a_kind_is_drawn_as_often_as_its_weight_says(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, kinds = boot(), [OPS["pin_pages"], OPS["add_memory"]]
    monkeypatch.setattr(OPS["add_memory"], "weight", 3)
    drawn = Counter(draw_one(kernel, kinds, SeededChooser(0, n)).op_name() for n in range(400))
    assert 2 < drawn["add_memory"] / drawn["pin_pages"] < 4


def test_the_layout_of_hyper_v_is_drawn_twice_as_often_as_others() -> None:
    layouts = {name: make(GEOMETRIES["tiny"]) for name, make in LAYOUTS.items()}
    drawn = Counter(drawn_layouts(layouts))
    assert drawn == Counter([*layouts, "hyper-v"])


def test_where_the_first_leaves_none_of_the_kinds_the_second_is_another() -> None:
    kernel, kinds = boot(), [OPS["memunmap_pages"]]
    assert do(kernel, device(HOLE)) is None
    drawn = [draw_together(kernel, kinds, SeededChooser(9, n)) for n in range(60)]
    both = {op.op_name() for each in drawn for op in getattr(each, "contexts", ())}
    assert len(both - {"memunmap_pages", "walk"}) > 3


def test_a_machine_on_which_nothing_is_enabled_is_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together, "drawn_ops", dict)
    with pytest.raises(ModelError, match="no operation is enabled"):
        draw_one(boot(), [], SeededChooser(0, 0))
