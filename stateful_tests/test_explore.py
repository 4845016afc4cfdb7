"""Exhaustive search: what is tried, what is counted, and that what it finds is shortest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hotplug_model.boot import LAYOUTS, BootLayout
from hotplug_model.errors import UserError
from hotplug_model.explore import Expander, Exploration, Space, Visited, shortest
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.ops import OPS, drawn_ops, ops_on_request
from hotplug_model.ops.draw import Rare
from hotplug_model.ops.every import ScriptedChooser, draws, every_op, kinds_named
from hotplug_model.ops.memory_block import OfflineMemoryBlock, VetoMemoryNotifier
from hotplug_model.ops.memory_hotplug import AddMemory
from hotplug_model.trace import Trace, broken, replay
from stateful_tests.kernels import C, add, boot, layout, offline, online

REGRESSIONS = Path(__file__).parent.parent / "regressions"
MOVES = ("add_memory", "remove_memory")
BLOCKS = (*MOVES, "online_memory_block", "offline_memory_block")


def regression(name: str) -> Trace:
    return Trace.loads((REGRESSIONS / f"{name}.json").read_text())


def machine(of: BootLayout | str = "collision", release: str | None = None) -> Trace:
    made = LAYOUTS[of](GEOMETRIES["tiny"]) if isinstance(of, str) else of
    return Trace(geometry="tiny", boot=made, release=release)


def space(*ops: str, symmetry: bool = True) -> Space:
    return Space(machines=(machine(),), ops=ops, unusual=0, symmetry=symmetry)


def explored(of: Space, depth: int = 1 << 30) -> Exploration:
    exploration = Exploration(space=of)
    exploration.run(Expander(of), depth)
    return exploration


# What is tried


def test_every_sequence_of_choices_is_drawn_once() -> None:
    drawn = list(draws(boot(), VetoMemoryNotifier, 0))
    assert drawn == [
        VetoMemoryNotifier(False, True), VetoMemoryNotifier(True, False),
        VetoMemoryNotifier(True, True),
    ]  # fmt: skip


def test_an_unusual_choice_is_tried_only_if_it_may_be() -> None:
    usual, unusual = (set(draws(boot(), OfflineMemoryBlock, nr)) for nr in (0, 1))
    assert not {offline(0, True), offline(1, True)} & usual
    assert {offline(0, True), offline(1, True)} <= unusual
    assert set(draws(boot(), AddMemory, 0)) < set(draws(boot(), AddMemory, 1))
    assert set(draws(boot(), AddMemory, 1)) < set(draws(boot(), AddMemory, 2))


def test_a_scripted_choice_of_the_unusual_is_the_last_of_its_options() -> None:
    chooser = ScriptedChooser([1, 2])
    assert [chooser.index(Rare(8)), chooser.index(5), chooser.index(3)] == [7, 2, 0]
    assert (chooser.nr_rare, chooser.options) == (1, [2, 5, 3])


def test_whatever_a_seed_draws_with_few_unusual_choices_is_among_every_operation() -> None:
    kernel = boot()
    for cls in OPS:
        if cls.enabled(kernel):
            every = set(every_op(kernel, (cls,), 1))
            assert every == set(draws(kernel, cls, 1))
            assert next(draws(kernel, cls, 0)) in every


def test_with_faults_every_allocation_of_every_operation_fails_once() -> None:
    plain = list(every_op(boot(), (AddMemory,), 0))
    faulty = list(every_op(boot(), (AddMemory,), 0, faults=True))
    assert [op for op in faulty if op.fail_at is None] == plain
    kinds = {op.fail_at for op in faulty} - {None}
    assert {"resource", "usage", "memory_block"} <= kinds


def test_an_unknown_kind_of_operation_is_the_users_mistake() -> None:
    assert kinds_named(()) == tuple((drawn_ops() | ops_on_request()).values())
    assert kinds_named(("add_memory",)) == (AddMemory,)
    with pytest.raises(UserError, match="add_memory"):
        kinds_named(("ad_memory",))
    with pytest.raises(UserError, match="no operation to draw 'interleave'"):
        kinds_named(("interleave",))


# What is counted


def test_two_absent_sections_have_four_states_and_three_if_they_are_equal() -> None:
    plain = explored(space(*MOVES, symmetry=False))
    reduced = explored(space(*MOVES))
    assert (len(plain.visited), plain.depth, plain.complete) == (4, 3, True)
    assert (len(reduced.visited), reduced.depth, reduced.complete) == (3, 3, True)


def test_a_state_knows_the_way_to_it() -> None:
    of = space(*BLOCKS)
    exploration, expander = explored(of, 3), Expander(of)
    paths = [exploration.visited.path(number) for number in range(len(exploration.visited))]
    assert len(set(paths)) == len(paths)
    assert sorted(map(len, paths)) == list(map(len, paths))
    for path in paths:
        kernel = Expander(of).state(path)
        trace = replace(machine(), events=expander.events(path))
        checker = trace.machine()
        for event in trace.events:
            assert checker.apply(event).violations == []
        assert checker.kernel.fingerprint() == kernel.fingerprint()


def test_a_search_goes_on_where_it_ended() -> None:
    of = space(*BLOCKS)
    whole, exploration = explored(of, 3), Exploration(space=of)
    for depth in (1, 2, 3):
        exploration.run(Expander(of), depth)
        assert exploration.depth == depth
    assert exploration.depths == whole.depths
    assert exploration.transitions == whole.transitions


def test_states_of_different_machines_are_different() -> None:
    two = Space(machines=(machine(), machine("stale")), ops=MOVES, unusual=0)
    assert len(explored(two).visited) == 6


def test_a_state_is_remembered_once() -> None:
    visited = Visited()
    assert visited.add(-1, 0, b"boot" * 4)
    assert visited.add(0, 4, b"once" * 4)
    assert not visited.add(0, 5, b"once" * 4)
    assert visited.path(1) == (0, 4)


# What is found


def test_what_is_found_is_as_short_as_what_is_known_to_be_shortest() -> None:
    known = regression("usage-of-a-readded-section")
    kinds = ("add_memory", "remove_memory", "offline_and_remove_memory")
    blank = replace(known, events=())
    found = shortest(blank, len(known.events), known.violates, kinds, 0)
    assert found is not None
    assert len(found.events) == len(known.events)
    index, violations = replay(found)
    assert index == len(found.events) - 1
    assert broken(violations) == found.violates == known.violates
    assert shortest(blank, len(known.events) - 1, None, kinds, 0) is None


def test_a_violation_of_anything_else_is_passed_over() -> None:
    collision = machine(release="5.11")
    first = shortest(collision, 1)
    assert first is not None
    other = shortest(collision, 1, ("pgmap_references_count_the_pages",), ("memremap_pages",), 0)
    assert other is None
    assert shortest(collision, 1, first.violates) == first


def test_a_machine_that_boot_breaks_needs_no_operation() -> None:
    known = regression("hole-in-zone")
    found = shortest(replace(known, events=()), 1)
    assert found is not None
    assert found.events == ()
    other = shortest(replace(known, events=()), 1, ("pgmap_references_count_the_pages",))
    assert other is None


def test_an_operation_that_is_drawn_in_a_state_is_enabled_there() -> None:
    kernel = boot()
    assert online(2) not in set(every_op(kernel, tuple(OPS), 1))
    assert add(C) in set(every_op(kernel, tuple(OPS), 0))
    assert layout().window[2] == C
