"""Certified minimising: as short as can be, in one form, and what is said of it is so."""

from __future__ import annotations

from dataclasses import replace

import pytest

import hotplug_model.certify as of_certify
from hotplug_model.boot import LAYOUTS
from hotplug_model.bug import bug_of
from hotplug_model.certify import (
    BUDGET,
    MINIMAL,
    SHORTEST,
    Search,
    certify,
    elsewhere,
    variants,
    with_one_for_two,
)
from hotplug_model.explore.shorter import Shorter
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.minimise import minimise
from hotplug_model.normal_form import exchanges, normal_form, simplified, swaps
from hotplug_model.ops import Op
from hotplug_model.ops.dax_kmem import DaxKmemProbe
from hotplug_model.ops.every import UNUSUAL, every_op, kinds_named
from hotplug_model.ops.interleave import Interleave
from hotplug_model.ops.memory_block import OfflineMemoryBlock, VetoMemoryNotifier
from hotplug_model.ops.memory_hotplug import AddMemory, OfflineAndRemoveMemory, RemoveMemory
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.ops.resource import ReleaseMemRegion, RequestMemRegion
from hotplug_model.ops.virtio_mem import VirtioMemProbe
from hotplug_model.pfn import PfnRange
from hotplug_model.suspicion import DEAR, WHOLE, OutOfBudget, Suspicion
from hotplug_model.trace import Trace, replay
from stateful_tests.kernels import HOLE, B, C, D, add, device, offline, online
from stateful_tests.traces import collision, of_change, recorded, suspicion_of

TINY = GEOMETRIES["tiny"]
BOOTS = tuple(make(TINY) for make in LAYOUTS)
SLOW_PATH = "seed001-slow-path"


def text(trace: Trace) -> str:
    return replace(trace, found={}).dumps()


def test_the_collision_is_in_its_form() -> None:
    assert certify(collision(nr_before=4), BOOTS) == replace(
        collision(), found={MINIMAL: SHORTEST}
    )


def test_what_is_found_elsewhere_and_otherwise_gets_the_same_bytes() -> None:
    events = (add(D), device(PfnRange(12, 14), pgmap_id=2))
    here, elsewhere = (
        of_change("1f90a3477df3", *events, boot=boot) for boot in ("collision", "memmap-on-memory")
    )
    assert elsewhere.violates == here.violates == collision().violates
    assert text(certify(elsewhere, BOOTS)) == text(certify(here)) == text(collision())


def test_a_shorter_trace_of_the_same_bug_is_found() -> None:
    trace = of_change("seed003-removal-of-another", device(HOLE), MemunmapPages(0))
    minimal = certify(trace)
    assert len(minimal.events) == 1
    assert bug_of(replay(minimal)[1]) == bug_of(replay(trace)[1])
    assert minimal.found[MINIMAL] == SHORTEST


def test_a_shorter_trace_on_another_machine_is_found() -> None:
    trace = of_change("feee6b298916", add(C), online(2, "online"), offline(2))
    assert len(certify(trace).events) == 3
    minimal = certify(trace, BOOTS)
    assert len(minimal.events) == 1
    assert minimal.boot in BOOTS
    assert minimal.boot != trace.boot
    assert bug_of(replay(minimal)[1]) == bug_of(replay(trace)[1])
    assert minimal.found[MINIMAL] == SHORTEST


def test_a_machine_that_shows_it_right_after_boot_needs_no_event() -> None:
    trace = of_change("seed000", DaxKmemProbe((C,), 0), online(2, "online"), boot="xen")
    shown = certify(trace, BOOTS)
    assert shown.events == ()
    assert bug_of(replay(shown)[1]) == bug_of(replay(trace)[1])
    assert shown.found[MINIMAL] == SHORTEST
    others = tuple(boot for boot in BOOTS if boot != shown.boot)
    assert len(certify(trace, others).events) == 2


def test_elsewhere_only_what_can_be_drawn_in_few_ways_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[tuple[int, int, set[type[Op]]]] = []

    class Watched(Shorter):
        def first(self, budget: int) -> Trace | None:
            searched.append((self.unusual, self.deepest, set(self.kinds)))
            return None

    monkeypatch.setattr(of_certify, "Shorter", Watched)
    trace = collision(nr_before=2)
    assert Search(suspicion_of(trace), BOOTS, BUDGET).at_once(trace) is None
    assert elsewhere(suspicion_of(trace), trace, BOOTS, 100) is None
    assert elsewhere(suspicion_of(trace), collision(), BOOTS, 100) is None
    (unusual, deepest, any_kind), (_, _, own) = searched
    assert (unusual, deepest, own) == (0, 1, {ReleaseMemRegion})
    assert {AddMemory, OfflineMemoryBlock} < any_kind
    assert any_kind.isdisjoint({MemremapPages, RequestMemRegion, VirtioMemProbe})


def test_a_layout_that_shows_it_with_one_usual_operation_is_found() -> None:
    two = of_change("381eab4a6ee8", add(C), online(2, "online"))
    boots = [LAYOUTS[name](TINY) for name in ("collision", "two-nodes")]
    one = certify(two, boots)
    assert (one.boot, one.events) == (boots[1], (offline(1),))
    assert certify(two, boots[:1]).events == two.events


def test_every_layout_is_asked_even_where_walkers_must_be() -> None:
    two = of_change("2d070eab2e82", add(C), online(2, "online"))
    one = certify(two, BOOTS)
    assert (one.boot, one.events) == (LAYOUTS["classic-sparse"](TINY), (offline(1),))
    assert one.found[MINIMAL] == SHORTEST


def test_no_machine_is_searched_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[tuple[int, int]] = []

    class Watched(Shorter):
        def first(self, budget: int) -> Trace | None:
            searched.append((len(self.trace.events), len(self.kinds)))
            return super().first(budget)

    monkeypatch.setattr(of_certify, "Shorter", Watched)
    every = len(kinds_named(()))
    two = of_change("7cf209ba8a86", add(C), online(2, "online"))
    certify(two)
    assert searched == [(2, every)]
    searched.clear()
    certify(two, budget=40)
    assert searched == [(2, every), (2, 2)]


def test_a_variant_of_one_may_do_for_two() -> None:
    """What memremap_pages() has added it removes itself if it fails late, which takes an unusual
    range, upon a type of memory that is unusual as well."""
    mapped = device(HOLE, kind="private")
    one = certify(of_change("seed003-removal-as-posted", mapped, MemunmapPages(0)))
    assert len(one.events) == 1
    suspicion = suspicion_of(one)
    tried = variants(suspicion, suspicion.booted(one.boot), mapped)
    assert len(set(tried)) == len(tried) > 50
    assert all(differing(mapped, op) == 1 for op in tried)
    assert {"ranges", "type", "altmap"} <= {
        name for op in tried for name, value in op.arguments().items()
        if value != mapped.arguments()[name]
    }  # fmt: skip


def differing(one: Op, other: Op) -> int:
    """How many arguments two operations of a kind do not share."""
    return sum(value != other.arguments()[name] for name, value in one.arguments().items())


def test_where_judging_is_dear_the_kinds_that_are_there_come_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[int] = []

    class Watched(Shorter):
        def first(self, budget: int) -> Trace | None:
            searched.append(len(self.kinds))
            return None

    monkeypatch.setattr(of_certify, "Shorter", Watched)
    every = len(kinds_named(()))
    certify(of_change("2d070eab2e82", add(C), online(2, "online")))
    assert searched == [2, every]
    searched.clear()
    certify(of_change(SLOW_PATH, add(C), VetoMemoryNotifier(True, False), online(2)))
    assert searched == [every, 3]


def test_a_search_that_ends_early_says_how_far_it_came() -> None:
    trace = of_change("seed003-removal-of-another", device(HOLE), MemunmapPages(0))
    minimal = certify(trace, budget=1)
    assert minimal.events == trace.events
    assert minimal.found[MINIMAL] == "no shorter found up to depth 0"


def test_the_search_counts_the_depths_that_it_has_tried() -> None:
    trace = of_change(SLOW_PATH, add(C), VetoMemoryNotifier(True, False), online(2))
    few = kinds_named([event.op_name() for event in trace.events])
    search = Shorter(suspicion_of(trace), trace, few)
    assert search.first(40) is None
    assert search.complete == 1
    search = Shorter(suspicion_of(trace), trace, few)
    assert search.first(4000) is None
    assert search.complete == 2
    longer = replace(trace, events=(add(D), *trace.events))
    found = Shorter(suspicion_of(trace), longer, few).first(4000)
    assert found is not None
    assert sorted(map(str, found.events)) == sorted(
        ["veto_memory_notifier(online=True, offline=False)", str(add(C)), str(online(2, "online"))]
    )


def test_where_no_operation_leads_anywhere_there_is_nothing_longer() -> None:
    trace = of_change(SLOW_PATH, add(C), VetoMemoryNotifier(True, False), online(2))
    search = Shorter(suspicion_of(trace), trace, (MemunmapPages,))
    assert search.first(4000) is None
    assert search.complete == 2


def test_a_shorter_trace_of_another_bug_is_not_accepted() -> None:
    trace = collision(nr_before=2)
    suspicion = Suspicion(trace, bug_of(replay(trace)[1]) | {("present_pages_add_up", "")})
    assert Shorter(suspicion, trace, kinds_named(())).first(40) is None


def test_what_refuted_a_suspicion_is_asked_from_then_on() -> None:
    trace = collision()
    (event,) = trace.events
    half = frozenset({("walkers_take_no_zone_device_page", "")})
    assert half < bug_of(replay(trace)[1])
    suspicion = Suspicion(trace, half)
    suspicion.budget = 100
    assert suspicion.breaks(suspicion.booted(trace.boot), event)
    assert not suspicion.show(trace.boot, trace.events)
    assert not suspicion.breaks(suspicion.booted(trace.boot), event)
    # Of what breaks more than rows nobody asks a walker, until that was the difference.
    more = Suspicion(trace, frozenset({("present_pages_add_up", ""), *half}))
    more.budget = 100
    assert not more.breaks(more.booted(trace.boot), event)
    assert more.budget == 99
    assert not more.show(trace.boot, trace.events)
    more.breaks(more.booted(trace.boot), event)
    assert more.budget == 99 - WHOLE - DEAR


def test_what_begins_with_what_breaks_is_refused_for_nothing() -> None:
    trace = collision()
    again = (*trace.events, device(PfnRange(14, 16), pgmap_id=1))
    suspicion = with_budget(trace)
    assert not suspicion.show(trace.boot, again)
    left = suspicion.budget
    assert not suspicion.show(trace.boot, (*trace.events, device(PfnRange(14, 15), pgmap_id=1)))
    assert suspicion.budget == left
    assert suspicion.show(trace.boot, trace.events)


def test_what_may_break_on_the_way_is_no_trace() -> None:
    trace = collision()
    suspicion = suspicion_of(trace)
    suspicion.budget = 100
    assert suspicion.may_show(trace.boot, trace.events)
    again = (*trace.events, device(PfnRange(14, 16), pgmap_id=1))
    assert not suspicion.may_show(trace.boot, again)


def test_nothing_is_tried_beyond_the_budget() -> None:
    suspicion = suspicion_of(collision())
    with pytest.raises(OutOfBudget):
        suspicion.show(collision().boot, collision().events)


def test_independent_steps_come_in_one_order_and_sections_in_theirs() -> None:
    one = of_change(SLOW_PATH, add(C), VetoMemoryNotifier(True, False), online(2))
    other = of_change(SLOW_PATH, VetoMemoryNotifier(True, True), add(D), online(3))
    forms = {text(simplified(with_budget(trace), trace)) for trace in (one, other)}
    searched = {text(normal_form(with_budget(t), t, (), 900)) for t in (one, other)}
    assert len(forms) == len(searched) == 1


def with_budget(trace: Trace) -> Suspicion:
    suspicion = suspicion_of(trace)
    suspicion.budget = 900
    return suspicion


def test_sections_nodes_and_ids_are_exchanged_in_all_events() -> None:
    boot = replace(BOOTS[0], nodes=2)
    trace = Trace(
        geometry="tiny", boot=boot,
        events=(AddMemory(0, C, 0), device(D, pgmap_id=1), OfflineMemoryBlock(2, False)),
    )  # fmt: skip
    found = list(exchanges(trace))
    assert (AddMemory(0, D, 0), device(C, pgmap_id=1), OfflineMemoryBlock(3, False)) in found
    elsewhere = MemremapPages(1, (D,), "generic", 1, ())
    assert (AddMemory(1, C, 0), elsewhere, OfflineMemoryBlock(2, False)) in found
    assert (AddMemory(0, C, 0), device(D), OfflineMemoryBlock(2, False)) in found


def test_what_lies_across_two_sections_is_not_torn_apart() -> None:
    across = MemremapPages(0, (PfnRange(20, 28),), "generic", 0, ())
    moved = [events[0] for events in exchanges(replace(collision(), events=(across,)))]
    assert all(isinstance(op, MemremapPages) and op.ranges[0].nr_pages == 8 for op in moved)
    assert len(moved) < len(list(exchanges(replace(collision(), events=(add(C),)))))


def test_neighbours_change_places() -> None:
    a, b, c = add(C), add(D), online(2)
    assert list(swaps(replace(collision(), events=(a, b, c)))) == [(b, a, c), (a, c, b)]


def test_schedules_are_left_as_they_are() -> None:
    event = Interleave((add(C), online(2)), ((0, 7),))
    trace = replace(collision(), changes=("8df1d0e4a265",), events=(event,))
    minimal = certify(recorded(trace), BOOTS)
    assert minimal.events == (event,)
    assert minimal.found[MINIMAL] == SHORTEST



def test_fewer_steps_of_the_kinds_that_are_there_are_found_beyond_the_budget() -> None:
    trace = of_change("2d070eab2e82", add(C), add(D), online(3, "online"))
    minimal = certify(trace, budget=60)
    assert len(minimal.events) == 2
    assert minimal.found[MINIMAL] == "no shorter found up to depth 0"


def test_one_operation_in_the_place_of_two_is_found() -> None:
    """None of the four can be left out: to offline and to remove takes two, or one of its own."""
    mapped = device(PfnRange(8, 10), kind="coherent")
    gone = (offline(1), RemoveMemory(B))
    trace = of_change(
        "usage-of-readded-section", *gone, mapped, MemunmapPages(0), boot="two-nodes"
    )
    assert minimise(trace).events == trace.events
    suspicion = suspicion_of(trace)
    shorter = with_one_for_two(suspicion, trace, 300)
    assert shorter is not None
    one = OfflineAndRemoveMemory(B, False)
    assert shorter.events == (one, mapped, MemunmapPages(0))
    assert with_one_for_two(suspicion, trace, 1) is None
    assert with_one_for_two(suspicion, replace(trace, events=trace.events[:2]), 300) is None


def test_usual_operations_are_tried_first() -> None:
    trace = collision()
    search = Shorter(suspicion_of(trace), trace, kinds_named(()))
    kernel = trace.machine().kernel
    ops = list(search.usual_first(kernel))
    usual = list(every_op(kernel, kinds_named(()), 0))
    assert ops[: len(usual)] == list(dict.fromkeys(usual))
    assert set(ops) == set(every_op(kernel, kinds_named(()), UNUSUAL))
    assert len(set(ops)) == len(ops) > len(usual)
