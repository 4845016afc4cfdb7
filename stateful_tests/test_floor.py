"""Coverage that is judged: what there is to see, what was seen, what is said of the rest."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

import hotplug_model
from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Outcome
from hotplug_model.coverage import Coverage
from hotplug_model.errors import KernelRefusal
from hotplug_model.floor import measure, shortfalls
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.ops import drawn_ops
from hotplug_model.reachable import (
    IMPOSSIBLE_PAIRS,
    MILESTONES,
    MILESTONES_OF_CHANGES,
    MILESTONES_ON_REQUEST,
    REFUSALS,
)
from hotplug_model.settings import NO_FLOOR, PROFILES, Floor
from hotplug_model.walk import WalkRequest, walk
from stateful_tests.kernels import C, add

PACKAGE = Path(hotplug_model.__file__).parent


@pytest.fixture(scope="module")
def walked() -> Coverage:
    """What a walk of mainline on every layout of the tiny geometry saw."""
    layouts = {name: make(GEOMETRIES["tiny"]) for name, make in LAYOUTS.items()}
    wanted = WalkRequest(
        variant=KernelVariant(), geometry="tiny", layouts=layouts, steps=3000, seed=5
    )
    return walk(wanted).coverage


def test_every_milestone_of_the_source_is_listed() -> None:
    sources = [path.read_text() for part in ("mm", "ops") for path in (PACKAGE / part).glob("*.py")]
    named = set(re.findall(r'yield "(\w+)"', "".join(sources)))
    assert sorted(MILESTONES) == list(MILESTONES)
    assert named == {*MILESTONES, *MILESTONES_OF_CHANGES, *MILESTONES_ON_REQUEST}


@pytest.mark.unmeasured
def test_nothing_is_refused_that_is_not_listed(walked: Coverage) -> None:
    refused = {(name, err) for name, counts in walked.outcomes.items() for err in counts}
    listed = {(name, err) for name, errs in REFUSALS.items() for err in (*errs, "ok")}
    listed |= {(name, "ok") for name in drawn_ops()}
    assert refused <= listed


def test_no_pair_is_seen_that_is_said_to_be_impossible(walked: Coverage) -> None:
    assert not IMPOSSIBLE_PAIRS & set(walked.pairs)


def test_a_walk_is_effective_in_95_of_100_steps(walked: Coverage) -> None:
    assert walked.steps == 3000
    assert measure(walked)["effective"].share >= PROFILES["ci"].floor.effective == 0.95


def test_a_walk_sees_nearly_all_there_is(walked: Coverage) -> None:
    found = measure(walked)
    missed = {name: each.missed for name, each in found.items()}
    assert missed["operations"] == ()
    assert len(missed["milestones"]) < 4
    assert found["pairs"].share > 0.85
    assert len(missed["refusals"]) < 5


def test_a_run_that_has_seen_nothing_has_missed_everything() -> None:
    found = measure(Coverage())
    assert {each.seen for each in found.values()} == {0}
    possible = len(drawn_ops()) ** 2 - len(IMPOSSIBLE_PAIRS)
    assert found["pairs"].of == len(found["pairs"].missed) == possible
    assert found["refusals"].of == sum(map(len, REFUSALS.values()))


def tried(*outcomes: tuple[int, int | None]) -> Coverage:
    """An add for each state and errno."""
    coverage = Coverage()
    coverage.start_example(0)
    for state, err in outcomes:
        refusal = KernelRefusal(err) if err else None
        coverage.count(add(C), Outcome(refusal, [], [], state=state))
    return coverage


def test_a_shortfall_names_the_floor_and_what_is_missing() -> None:
    coverage = tried((1, None), (1, errno.EEXIST))
    (said,) = shortfalls(coverage, Floor(refusals=0.5))
    assert said.startswith("refusals: 1 of 33 (3.0 %), the floor is 50%")
    assert "; never add_memory -E2BIG" in said
    assert "add_memory -EEXIST" not in said


def test_a_share_that_is_reached_exactly_is_enough() -> None:
    coverage = tried((1, None), (1, None))
    assert shortfalls(coverage, Floor(effective=0.5)) == []
    assert len(shortfalls(coverage, Floor(effective=0.51))) == 1
    assert shortfalls(Coverage(), NO_FLOOR) == []
