"""Counting states: exact while they are few, a fair sample when they are many."""

from __future__ import annotations

import random

import pytest

from hotplug_model import sightings
from hotplug_model.sightings import Sightings


def seen(*states: int) -> Sightings:
    found = Sightings()
    for state in states:
        found.see(state)
    return found


def some_states(nr: int, seed: int = 1) -> list[int]:
    draw = random.Random(seed)
    population = [draw.getrandbits(64) for _ in range(nr)]
    return [draw.choice(population) for _ in range(2 * nr)]


def test_few_states_are_counted_exactly() -> None:
    found = seen(5, 7, 5, 8)
    assert (found.distinct, found.halvings) == (3, 0)


def test_the_unseen_mass_is_the_share_of_looks_that_were_the_only_one() -> None:
    assert seen(5, 7, 5, 8).unseen == 0.5
    assert seen(5, 5).unseen == 0.0
    assert seen().unseen == 1.0


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sightings, "LIMIT", 64)


@pytest.mark.usefixtures("small")
def test_no_more_states_are_remembered_than_the_limit() -> None:
    states = some_states(3000)
    found = seen(*states)
    assert len(found.counts) <= 64
    assert 0.6 < found.distinct / len(set(states)) < 1.6
    whole = sum(states.count(state) == 1 for state in set(states)) / len(states)
    assert abs(found.unseen - whole) < 0.2


@pytest.mark.usefixtures("small")
def test_neither_order_nor_division_of_work_makes_a_difference() -> None:
    states = some_states(500)
    whole = seen(*states)
    parts = seen(*states[:300])
    parts.merge(seen(*states[300:]))
    assert seen(*reversed(states)) == whole == parts
