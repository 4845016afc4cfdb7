"""Counting what a run has tried."""

from __future__ import annotations

import errno
import json

from hotplug_model.checker import Checker, Outcome
from hotplug_model.coverage import Coverage
from hotplug_model.errors import KernelRefusal
from hotplug_model.invariants import SOMETIMES
from hotplug_model.ops import drawn_ops
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.reachable import nr_possible_pairs
from stateful_tests.kernels import HOLE, C, D, add, boot, device, online, remove


def counted() -> Coverage:
    """Two examples: an add that works and one that does not, then an online."""
    coverage = Coverage()
    coverage.start_example(1)
    coverage.count(add(C), outcome(2))
    coverage.count(add(C), outcome(2, errno.EEXIST))
    coverage.start_example(1)
    coverage.count(online(2), outcome(1, errno.ENOENT))
    return coverage


def outcome(state: int, err: int | None = None) -> Outcome:
    """Of an operation that passed one milestone, unless it was refused."""
    refusal = KernelRefusal(err) if err else None
    return Outcome(refusal, [], [], [] if err else ["get_page"], state=state)


def operations(coverage: Coverage) -> dict[str, dict[str, object]]:
    read: dict[str, dict[str, object]] = json.loads(json.dumps(coverage.to_json()))["operations"]
    return read


def test_examples_and_steps_are_counted() -> None:
    coverage = counted()
    assert (coverage.examples, coverage.steps) == (2, 3)


def test_outcomes_are_counted_by_errno() -> None:
    assert operations(counted())["add_memory"] == {
        "drawn": 2,
        "succeeded": 1,
        "refused": {"EEXIST": 1},
        "milestones": ["get_page"],
    }


def test_operations_that_were_not_drawn_are_listed_with_zeros() -> None:
    found = operations(counted())
    assert list(found) == list(drawn_ops())
    assert found["memunmap_pages"] == {
        "drawn": 0, "succeeded": 0, "refused": {}, "milestones": [],
    }  # fmt: skip


def test_pairs_are_counted_within_an_example_only() -> None:
    coverage = counted()
    assert coverage.pairs == {("add_memory", "add_memory")}
    shown = coverage.to_json()["pairs"]
    assert shown == {"seen": 1, "possible": nr_possible_pairs()}


def test_what_was_never_reached_is_missing() -> None:
    coverage = Coverage()
    assert coverage.missing() == SOMETIMES.names()
    coverage.reached.add(SOMETIMES.names()[0])
    assert coverage.missing() == SOMETIMES.names()[1:]


def test_a_checker_reaches_states_between_operations() -> None:
    checker = Checker(boot())
    checker.boot()
    before = set(checker.reached)
    checker.apply(device(HOLE))
    assert checker.reached - before >= {"device_memory_shares_an_online_section"}
    checker.apply(MemunmapPages(0))
    assert "a_tainted_section_has_no_device_memory" in checker.reached


def test_a_step_is_effective_if_it_changed_something_or_was_refused() -> None:
    coverage = counted()
    assert coverage.effective == coverage.steps == 3
    coverage.count(remove(D), outcome(1))
    assert (coverage.effective, coverage.steps) == (3, 4)


def test_a_state_counts_once_an_example() -> None:
    coverage = counted()
    assert coverage.states.counts == {1: 2, 2: 1}


def test_to_remove_nothing_leaves_the_state_and_to_add_changes_it() -> None:
    checker = Checker(boot())
    checker.boot()
    before = checker.state
    assert checker.apply(remove(D)).state == before == checker.now()
    assert checker.apply(add(D)).state != before
    assert checker.apply(remove(D)).state == before
