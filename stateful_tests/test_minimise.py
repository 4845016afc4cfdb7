"""Minimising: nothing useless stays, and no other bug is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

import hotplug_model.bug as of_bug
import hotplug_model.minimise as minimising
from hotplug_model.bug import Trials, bug_of
from hotplug_model.checker import QUIESCENT, Checker, Violation, carry_out
from hotplug_model.kernel import Kernel
from hotplug_model.minimise import drop_one, minimise, simpler_schedules
from hotplug_model.ops import Op
from hotplug_model.ops.dax_kmem import DaxKmemProbe
from hotplug_model.ops.interleave import Interleave
from hotplug_model.ops.memory_block import VetoMemoryNotifier
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.ops.pages import PinPages, UnpinPages
from hotplug_model.ops.xen_balloon import IncreaseReservation
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import KernelRules
from hotplug_model.trace import Trace, broken, replay
from stateful_tests.kernels import HOLE, C, D, add, device, layout, offline, online
from stateful_tests.traces import collision, recorded


@pytest.mark.parametrize("nr_before", [0, 2, 6])
def test_events_that_change_nothing_are_dropped(nr_before: int) -> None:
    assert minimise(collision(nr_before=nr_before)) == collision()


def test_events_behind_the_violation_are_dropped() -> None:
    trace = collision(nr_before=4)
    longer = replace(trace, events=(*trace.events, add(C), online(2)))
    assert minimise(longer) == collision()


def test_what_one_event_needs_is_kept() -> None:
    trace = collision()
    needed = recorded(
        replace(
            trace, changes=("9f9b02e5b346",), events=(add(C), device(HOLE), MemunmapPages(0))
        )
    )
    assert needed.violates
    assert minimise(needed).events == (device(HOLE), MemunmapPages(0))


def test_a_trace_that_breaks_nothing_is_left_alone() -> None:
    trace = replace(collision(nr_before=4), changes=())
    assert minimise(trace) == trace


def test_a_shorter_trace_of_another_bug_is_not_accepted() -> None:
    one = recorded(replace(collision(), events=(device(HOLE),)))
    two = replace(one, events=(VetoMemoryNotifier(True, False), device(HOLE)))
    bug = bug_of(replay(two)[1])
    assert drop_one(Trials(two, bug), two) == one
    assert drop_one(Trials(two, bug | {("present_pages_add_up", "")}), two) is None


def test_another_known_defect_is_another_bug() -> None:
    one = recorded(replace(collision(), changes=(), strict=True, events=(device(HOLE),)))
    bug = bug_of(replay(one)[1])
    assert "" not in {defect for _, defect in bug}
    assert Trials(one, bug).show(one.events)
    assert not Trials(one, frozenset((name, "") for name, _ in bug)).show(one.events)


def test_few_trials_do_for_two_hundred_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    show = Trials.show

    def counted(trials: Trials, events: Sequence[Op]) -> bool:
        tried.append(len(events))
        return show(trials, events)

    monkeypatch.setattr(Trials, "show", counted)
    assert minimise(collision(nr_before=200)) == collision()
    assert len(tried) < 20
    assert sum(tried) < 400


def test_a_shorter_trace_that_breaks_earlier_is_not_accepted() -> None:
    trace = collision(nr_before=2)
    index, found = replay(trace)
    assert index == len(trace.events) - 1
    shorter = minimise(trace)
    assert replay(shorter)[0] == len(shorter.events) - 1
    assert broken(replay(shorter)[1]) == broken(found)


def test_every_event_is_judged_of_short_trials_only(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [PinPages(PfnRange(0, 1)), UnpinPages(PfnRange(0, 1))] * 20
    needed = (online(2, "online_kernel"), online(3, "online_kernel"))
    events = (
        *before, DaxKmemProbe((PfnRange(16, 32),), 0), *needed,
        IncreaseReservation(PfnRange(16, 32)), offline(2),
    )  # fmt: skip
    trace = recorded(
        replace(collision(), boot=layout("xen"), changes=("00d6c019b5bc",), events=events)
    )
    assert replay(trace)[0] == len(trace.events) - 1
    replayed: list[tuple[int, int | None]] = []

    def noted(shown: Trace, sound: set[bytes]) -> tuple[int | None, list[Violation]]:
        index, violations = replay(shown, sound=sound)
        replayed.append((len(shown.events), index))
        return index, violations

    monkeypatch.setattr(minimising, "replay", noted)
    shorter = minimise(trace)
    # For the last event to show it three do, and of these the second shows it already.
    assert replayed == [(3, 1)]
    assert shorter.events == (trace.events[40], trace.events[42])
    assert replay(shorter)[0] == 1


def test_what_trials_begin_with_is_carried_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    carried: list[Op] = []

    def counted(kernel: Kernel, op: Op) -> object:
        carried.append(op)
        return carry_out(kernel, op)

    monkeypatch.setattr(of_bug, "carry_out", counted)
    trace = collision()
    trials = Trials(trace, bug_of(replay(trace)[1]), hasty=True)
    many: list[Op] = [add(C), online(2), offline(2)]
    other = [*many[:2], online(2), online(2)]
    assert trials.show((*many, *trace.events))
    assert carried == many
    assert trials.show((*many[:2], *trace.events))
    assert carried == many
    afresh, _ = after(other), trials.behind(many)
    carried.clear()
    assert trials.behind(other).fingerprint() == afresh.fingerprint()
    assert len(carried) == 2


def after(ops: Sequence[Op]) -> Kernel:
    """The machine of the collision behind *ops*."""
    kernel = collision().machine().kernel
    for op in ops:
        carry_out(kernel, op)
    return kernel


def test_it_is_remembered_what_breaks_and_what_holds() -> None:
    trace = collision()
    trials = Trials(trace, bug_of(replay(trace)[1]))
    assert not trials.is_known_to_break(trace.events)
    assert not trials.holds(trace.events)
    assert trials.is_known_to_break(trace.events)
    assert trials.holds((add(C),))
    assert not trials.is_known_to_break((add(C),))


def test_what_was_judged_on_one_way_is_so_on_another() -> None:
    trace = collision()
    (breaks,) = trace.events
    added, plugged, back = add(C), online(2), offline(2)
    ways: list[tuple[Op, ...]] = [
        (added, plugged), (added, plugged, back), (added, breaks), (added, plugged, breaks),
        (plugged, added), (added, plugged, back, breaks), (added, back, plugged), (breaks, added),
        (added, plugged, back, added),
    ]  # fmt: skip
    trials = Trials(trace, bug_of(replay(trace)[1]))
    for way in ways * 2:
        assert trials.holds(way) == (replay(replace(trace, events=way))[0] is None)
        assert trials.behind(way).fingerprint() == after(way).fingerprint()


def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The milestones at which a checker looks from now on."""
    looks: list[str] = []
    look = Checker.look

    def noted(checker: Checker, milestone: str) -> list[Violation]:
        looks.append(milestone)
        return look(checker, milestone)

    monkeypatch.setattr(Checker, "look", noted)
    return looks


def test_nobody_looks_any_more_once_another_bug_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = collision()
    (event,) = trace.events
    looks = watched(monkeypatch)
    bug = bug_of(trace.machine().apply(event).violations)
    every = list(looks)
    assert len(bug) == 2
    assert bug_of(trace.machine().apply(event, bug).violations) == bug
    assert looks == every * 2
    looks.clear()
    partly = bug_of(trace.machine().apply(event, ()).violations)
    assert partly <= bug
    assert partly
    assert len(looks) < len(every)
    assert every[: len(looks)] == looks


def test_a_known_defect_is_no_other_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = replace(collision(), changes=()).machine()
    looks = watched(monkeypatch)
    outcome = machine.apply(device(HOLE), ())
    assert outcome.known
    assert outcome.violations == []
    assert looks == [*outcome.milestones, QUIESCENT]


def test_minimising_twice_changes_nothing_more() -> None:
    noisy = collision(nr_before=4)
    events = (add(C), online(2), *noisy.events[:-1], offline(2), *noisy.events[-1:])
    once = minimise(recorded(replace(noisy, events=events)))
    assert minimise(once) == once
    assert len(once.events) == 1


def test_everything_but_the_events_is_kept() -> None:
    trace = replace(collision(nr_before=2), title="a title", found={"seed": 1})
    shorter = minimise(trace)
    assert replace(shorter, events=trace.events) == trace


def deaf(rules: KernelRules) -> KernelRules:
    """A kernel whose pfn_to_online_page() never grants a page."""
    return replace(rules, pfn_to_online_page=lambda x: x.start_pfn < 0)


def test_a_machine_that_is_broken_at_boot_needs_no_event() -> None:
    change = f"{__name__}:deaf"
    trace = recorded(replace(collision(nr_before=2), changes=(change,)))
    assert trace.violates == ("walkers_miss_no_online_page",)
    assert minimise(trace).events == ()


PIN = PinPages(PfnRange(0, 1))
INVERSION = (add(C), online(2))
"""Wait for each other if the first is left at its seventh milestone; see test_contexts."""


@pytest.mark.parametrize(
    "turns",
    [
        ((0, 7), (1, 1)),
        ((0, 2), (2, 1), (0, 5)),
        ((0, 1), (0, 1), (0, 5)),
    ],
)
def test_switches_that_are_not_needed_are_dropped(turns: tuple[tuple[int, int], ...]) -> None:
    trace = replace(collision(), changes=("8df1d0e4a265",))
    noisy = recorded(replace(trace, events=(Interleave((*INVERSION, PIN), turns),)))
    assert noisy.violates == ("nobody_waits_for_ever",)
    (event,) = minimise(noisy).events
    assert isinstance(event, Interleave)
    assert (event.contexts, event.turns) == (INVERSION, ((0, 7),))


def test_what_breaks_alone_needs_no_schedule() -> None:
    noisy = Interleave((add(C), device(HOLE)), ((0, 3), (1, 2)))
    trace = recorded(replace(collision(), events=(noisy,)))
    assert minimise(trace).events == (device(HOLE),)


def test_a_switch_comes_as_early_as_it_may() -> None:
    late = Interleave((device(C), add(D)), ((0, 9), (1, 3)))
    earlier = [simpler.turns for simpler in simpler_schedules(late)]
    assert earlier[:2] == [((1, 3),), ((0, 9),)]
    assert ((0, 5), (1, 3)) in earlier
    assert ((0, 9), (1, 2)) in earlier
