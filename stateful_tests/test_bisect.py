"""Bisecting: the one change between good and bad, in few replays, or a line that says why not."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from hotplug_model.__main__ import main
from hotplug_model.bisect import Bisection, Verdict, bisect, history, position
from hotplug_model.changes import CHANGES, RELEASES, KernelVariant
from hotplug_model.errors import UserError
from hotplug_model.trace import Trace
from stateful_tests.traces import COLLISION, collision

REGRESSIONS = Path(__file__).parent.parent / "regressions"
NAMES = ("collision", "zone-span-does-not-shrink", "tails-in-an-early-section", "hole-in-zone")
FIXES = [Trace.loads((REGRESSIONS / f"{name}.json").read_text()) for name in NAMES]


def test_the_history_has_every_commit_once_in_the_order_of_releases() -> None:
    commits = history()
    assert sorted(c.name for c in commits) == sorted(c.name for c in CHANGES if c.commit)
    releases = [c.since for c in commits if c.since]
    assert releases == sorted(releases)


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_is_where_its_commits_end(release: str) -> None:
    lacking = {c.name for c in history()[position(release) :] if not c.hides}
    assert lacking == {c.name for c in KernelVariant.named(release, ()).undone}


@pytest.mark.parametrize(
    ("called", "name"),
    [("v5.12", "5.12"), (COLLISION[:7], COLLISION), (COLLISION.upper() + "0" * 28, COLLISION)],
)
def test_a_release_may_be_its_tag_and_a_commit_any_part_of_its_id(called: str, name: str) -> None:
    assert position(called) == position(name)


@pytest.mark.parametrize("name", [COLLISION[:6], "v5", "v" + COLLISION, "0" * 40, COLLISION + "g"])
def test_what_is_neither_is_refused_with_the_nearest_few(name: str) -> None:
    with pytest.raises(UserError, match=f"no release or commit '{name}'; ") as refused:
        position(name)
    assert 1 <= len(str(refused.value).split(", ")) <= 3


@pytest.mark.parametrize("trace", FIXES, ids=lambda trace: trace.changes[0])
def test_the_commit_whose_absence_a_trace_shows_is_found_in_few_replays(trace: Trace) -> None:
    (name,) = trace.changes
    before = history()[position(name) - 2].name
    asked: list[int] = []
    culprit = bisect(
        Bisection(trace), "mainline", before, lambda nr, verdict: asked.append(nr)
    )
    assert (culprit.commit.name, culprit.fixes) == (name, True)
    assert len(asked) <= 3 + math.ceil(math.log2(len(history())))


TURN = position("5.4") + 4
"""The first kernel of a verdict that all later ones share."""


def told(verdicts: dict[int, Verdict]) -> Bisection:
    """A bisection that knows what each kernel makes of its trace."""
    return Bisection(collision(), verdicts)


def test_good_may_be_older_than_bad() -> None:
    last = len(history())
    known = {n: Verdict.BAD if n >= TURN else Verdict.GOOD for n in range(last + 1)}
    culprit = bisect(told(known), "5.4", "mainline")
    assert (culprit.commit, culprit.fixes) == (history()[TURN - 1], False)


def test_kernels_that_cannot_tell_are_passed_over() -> None:
    last = len(history())
    known = {n: Verdict.GOOD if n >= TURN else Verdict.BAD for n in range(last + 1)}
    known[last // 2] = known[last // 2 - 1] = Verdict.OTHER
    assert bisect(told(known), "mainline", "5.4").commit == history()[TURN - 1]


def test_kernels_that_cannot_tell_next_to_the_change_are_an_error() -> None:
    last = len(history())
    known = {n: Verdict.GOOD if n >= TURN else Verdict.BAD for n in range(last + 1)}
    known[TURN - 1] = Verdict.OTHER
    first, second = history()[TURN - 2].name, history()[TURN - 1].name
    with pytest.raises(UserError, match=f"does not separate .* one of {first}, {second}, but"):
        bisect(told(known), "mainline", "5.4")


def test_what_the_trace_does_not_name_is_not_asked() -> None:
    trace = replace(collision(), violates=("present_pages_add_up",))
    assert Bisection(trace).verdict(position("5.11")) is Verdict.GOOD


def test_what_breaks_otherwise_is_neither_good_nor_bad() -> None:
    trace = replace(collision(), violates=(*collision().violates, "zone_spans_shrink"))
    assert Bisection(trace).verdict(position("5.11")) is Verdict.OTHER
    longer = collision(nr_before=2)
    early = replace(longer, events=(longer.events[-1], *longer.events[:-1]))
    assert Bisection(early).verdict(position("5.11")) is Verdict.OTHER


def run(*arguments: str) -> int:
    Path("t.json").write_text(collision().dumps())
    return main(["bisect", *arguments, "t.json"])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a working directory of its own."""
    monkeypatch.chdir(tmp_path)


def test_the_command_names_the_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--good", "mainline", "--bad", "5.9") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith(f"{COLLISION} (5.12) mm: teach pfn_to_online_page() about")
    assert lines[-2].startswith("  without it the trace fails, with it the trace holds: walkers_")
    assert lines[-1] == f"  {len(lines) - 3} kernels replayed"


def test_the_command_answers_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--good", COLLISION, "--bad", "5.9", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["change"], found["fixes"], found["since"]) == (COLLISION, True, "5.12")
    assert found["replays"][0] == {"as_of": COLLISION, "verdict": "good"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--good", "5.11", "--bad", "5.8"), "5.11 is not good: the trace breaks there"),
        (("--good", "mainline", "--bad", "6.1"), "6.1 is not bad: the trace breaks nothing"),
        (("--good", "5.16", "--bad", "5.17"), "no change of the model lies between 5.16 and 5.17"),
        (("--good", "mainlin", "--bad", "5.9"), "did you mean mainline?"),
        (("--good", "5.12"), "required: --bad"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert reason in captured.err


def test_a_trace_that_breaks_nothing_cannot_be_bisected() -> None:
    with pytest.raises(UserError, match="nothing to bisect"):
        bisect(Bisection(replace(collision(), violates=())), "mainline", "5.9")
