"""Minimising: nothing useless stays, and no other bug is accepted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hotplug_model.minimise import drop_one, minimise
from hotplug_model.ops.memory_block import VetoMemoryNotifier
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.rules import KernelRules
from hotplug_model.trace import broken, replay
from stateful_tests.kernels import HOLE, C, add, device, offline, online
from stateful_tests.traces import collision, recorded


@pytest.mark.parametrize("nr_before", [0, 2, 6])
def test_events_that_change_nothing_are_dropped(nr_before: int) -> None:
    assert minimise(collision(nr_before=nr_before)) == collision()


def test_events_behind_the_violation_are_dropped() -> None:
    trace = collision()
    longer = replace(trace, events=(*trace.events, add(C), online(2)))
    assert minimise(longer) == trace


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
    two_bugs = replace(one, events=(VetoMemoryNotifier(True, False), device(HOLE)))
    other = replace(two_bugs, violates=("present_pages_add_up",))
    assert drop_one(other) is None
    assert drop_one(two_bugs) == one


def test_a_shorter_trace_that_breaks_earlier_is_not_accepted() -> None:
    trace = collision(nr_before=2)
    index, found = replay(trace)
    assert index == len(trace.events) - 1
    shorter = minimise(trace)
    assert replay(shorter)[0] == len(shorter.events) - 1
    assert broken(replay(shorter)[1]) == broken(found)


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
