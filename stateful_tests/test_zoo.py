"""The zoo: every row is expressed and shown, or names what the model lacks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from hotplug_model.catalogue import kills
from hotplug_model.changes import CHANGES
from hotplug_model.invariants import INVARIANTS
from hotplug_model.kept import MUTANTS, REASONS
from hotplug_model.mutants.source import mutants_of
from hotplug_model.trace import Trace
from hotplug_model.zoo import PARTS, ROWS, Row

REGRESSIONS = Path(__file__).parent.parent / "regressions"
TRACES = [Trace.loads(path.read_text()) for path in sorted(REGRESSIONS.glob("*.json"))]
EXPRESSED = [row for row in ROWS if row.changes]


def test_the_zoo_has_67_rows_each_once_and_in_order() -> None:
    numbers = [row.number for row in ROWS]
    assert len(numbers) == 67
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.number))
def test_a_row_is_either_expressed_or_says_what_it_lacks(row: Row) -> None:
    assert bool(row.changes) != bool(row.lacks)
    assert not row.lacks or row.lacks in PARTS


def test_no_part_is_said_to_be_lacking_that_no_row_takes() -> None:
    assert {row.lacks for row in ROWS if row.lacks} == set(PARTS)


@pytest.mark.parametrize("row", EXPRESSED, ids=lambda row: str(row.number))
def test_each_change_of_a_row_has_a_regression_with_a_postmortem(row: Row) -> None:
    for name in row.changes:
        change = CHANGES[name]
        wanted = (*change.needs, name)
        shown = [trace for trace in TRACES if trace.changes == wanted]
        assert change.breaks
        assert shown
        assert all(trace.postmortem for trace in shown)


def test_two_commits_fixed_two_rows_each() -> None:
    names = Counter(name for row in ROWS for name in row.changes)
    twice = [name for name, rows in names.items() if rows > 1]
    assert twice == ["2d070eab2e82", "shrink-asks-online"]


def test_the_table_of_who_notices_what_is_what_regressions_violate() -> None:
    told = {(row[0].strip("`"), name) for row in kills().rows for name in names_in(row)}
    shown = {
        (invariant, trace.changes[-1])
        for trace in TRACES
        if trace.changes and trace.release is None and not trace.strict
        for invariant in trace.violates
        if trace.changes == (*CHANGES[trace.changes[-1]].needs, trace.changes[-1])
        if trace.violates == CHANGES[trace.changes[-1]].breaks
    }
    # What the first patch of its thread shows depends on whether memmaps are poisoned.
    assert told - {pair for pair in told if pair[1] == "seed001-taint-only"} == shown


def names_in(row: tuple[str, ...]) -> list[str]:
    """The changes of a row."""
    names = ", ".join(row[1:]).replace("`", "").split(", ")
    return [name for name in names if name in CHANGES]


def test_an_invariant_that_notices_nothing_alone_is_kept_for_a_reason() -> None:
    alone = {change.breaks[0] for change in CHANGES if len(change.breaks) == 1}
    assert set(MUTANTS) | set(REASONS) == set(INVARIANTS.names()) - alone
    assert not set(MUTANTS) & set(REASONS)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_that_an_invariant_is_kept_for_can_be_made(name: str) -> None:
    file, text = MUTANTS[name]
    assert any(text in str(mutant) for mutant, _ in mutants_of(file))
