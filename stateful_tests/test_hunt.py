"""Hunting known bugs: what is found, what is missed, and what ``zoo`` says of it."""

from __future__ import annotations

import json

import pytest

from hotplug_model import hunt as hunting
from hotplug_model.__main__ import main
from hotplug_model.changes import CHANGES
from hotplug_model.commands.zoo import zoo_row
from hotplug_model.hunt import BUDGET, Hunted, hunt, hunts, quarry
from hotplug_model.trace import broken, replay

EASY = "1f90a3477df3"


def test_a_hunt_ends_with_a_minimal_trace_of_the_change() -> None:
    found = hunt(EASY, 0)
    assert found.trace is not None
    assert found.trace.changes == (EASY,)
    index, violations = replay(found.trace)
    assert (index, broken(violations)) == (len(found.trace.events) - 1, found.trace.violates)
    assert 0 < found.steps < BUDGET


@pytest.mark.unmeasured
def test_what_takes_two_operations_in_flight_is_raced() -> None:
    found = hunt("8df1d0e4a265", 0)
    assert found.trace is not None
    assert found.trace.violates == CHANGES["8df1d0e4a265"].breaks == ("nobody_waits_for_ever",)
    assert 0 < found.steps < BUDGET


def test_a_hunt_of_what_is_no_bug_is_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunting, "BUDGET", 40)
    (harmless,) = [change for change in CHANGES if not change.breaks][:1]
    missed = hunt(harmless.name, 0)
    assert (missed.trace, missed.steps) == (None, 40)
    none = Hunted(change=harmless.name, hunts=(missed,))
    assert (none.found, none.shortest, none.steps, none.seconds) == ((), None, None, None)


def test_a_change_that_needs_another_is_hunted_with_it() -> None:
    (needy, *_) = [name for name in quarry() if CHANGES[name].needs]
    request = hunting.request_for(needy, 0)
    names = tuple(change.name for change in request.variant.changes)
    assert names == (*CHANGES[needy].needs, needy)


def test_processes_do_not_change_what_is_found() -> None:
    (both,) = hunts([EASY], 2, 2)
    alone = [hunt(EASY, seed) for seed in range(2)]
    assert [one.trace for one in both.hunts] == [one.trace for one in alone]
    assert [one.steps for one in both.hunts] == [one.steps for one in alone]


def test_zoo_prints_a_row_and_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "--change", EASY[:7], "--workers", "1"]) == 0
    heading, row, verdict = capsys.readouterr().out.splitlines()
    assert heading.split() == [
        "change", "row", "in", "found", "steps", "events", "seconds", "violates",
    ]  # fmt: skip
    assert row.split()[:6] == [EASY, "17", "v5.12", "1", "of", "1"]
    assert verdict == "found all of 1 bug on 1 seed, 80000 operations each"


def test_zoo_says_what_it_missed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = hunting.Hunt(change=EASY, seed=0, steps=BUDGET, seconds=1.0, trace=None)
    results = iter([Hunted(change=EASY, hunts=(missed,))])
    monkeypatch.setattr("hotplug_model.commands.zoo.hunts", lambda *wanted: results)
    assert main(["zoo", "--change", EASY]) == 1
    _, row, verdict = capsys.readouterr().out.splitlines()
    assert row.split()[3:] == ["0", "of", "1", "-", "-", "-", "-"]
    assert verdict.startswith(f"missed {EASY} of 1 bug on")


def test_zoo_as_json_holds_every_hunt(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "--change", EASY, "--seeds", "2", "--json"]) == 0
    printed = capsys.readouterr()
    (change,) = json.loads(printed.out)
    heading, row = printed.err.splitlines()
    assert (heading.split()[0], row.split()[0]) == ("change", EASY)
    assert (change["change"], change["row"], change["found"]) == (EASY, "17", 2)
    assert [one["seed"] for one in change["hunts"]] == [0, 1]
    assert all(one["found"] and one["violates"] for one in change["hunts"])


def test_zoo_as_markdown_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "--change", EASY, "--markdown"]) == 0
    _, rule, row = capsys.readouterr().out.splitlines()
    assert rule.startswith("| ---")
    assert row.startswith(f"| `{EASY}` | 17 ")


@pytest.mark.parametrize(
    "words",
    [["--change", "1f90a3"], ["--change", "cf387"], ["--seeds", "0"], ["--seeds", "x"]],
)
def test_zoo_refuses_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_zoo_refuses_a_change_that_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    (harmless,) = [change for change in CHANGES if not change.breaks][:1]
    assert main(["zoo", "--change", harmless.name]) == 2
    assert "is no bug" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "rows"), [(EASY, "17"), ("2d070eab2e82", "14, 27"), ("2fac4afa0e2e", "-")]
)
def test_a_change_names_every_row_that_it_stands_for(name: str, rows: str) -> None:
    assert zoo_row(name) == rows
