"""The random walk: the seed decides all of it, and what it finds is found for good."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hotplug_model import verdict
from hotplug_model import walk as walking
from hotplug_model.__main__ import main
from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import KernelVariant
from hotplug_model.check import CheckRequest, check
from hotplug_model.coverage import Coverage
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.invariants import SOMETIMES
from hotplug_model.ops import OPS
from hotplug_model.settings import Profile
from hotplug_model.trace import Trace, replay
from hotplug_model.verdict import Report
from hotplug_model.walk import RandomWalk, SeededChooser, WalkRequest, walk
from hotplug_model.workers import blocked_interrupts, wait_for
from stateful_tests.test_cli_process import interrupted

COLLISION = "1f90a3477df3"
"""Where all but one commit is there, nothing else is found, whatever the seed."""
WALK = ["walk", "--change", COLLISION, "--boot", "collision", "--seed", "0"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a working directory of its own."""
    monkeypatch.chdir(tmp_path)


def request(release: str | None = None, steps: int = 400, seed: int = 0) -> WalkRequest:
    """A walk on every layout of the tiny geometry."""
    layouts = {name: make(GEOMETRIES["tiny"]) for name, make in LAYOUTS.items()}
    variant = KernelVariant.named(release, ())
    return WalkRequest(variant=variant, geometry="tiny", layouts=layouts, steps=steps, seed=seed)


def steps_of(report: Report) -> dict[str, object]:
    """All that a walk did, as far as it was counted."""
    coverage = report.coverage
    return coverage.to_json() | {"n": coverage.examples, "known": dict(coverage.known)}


def found_by(wanted: WalkRequest) -> list[Trace]:
    """What a walk finds: as it was found, then minimised."""
    found: list[Trace] = []
    walk(wanted, on_found=found.append)
    return found


# Choices


def test_choices_are_below_the_bound_and_every_one_comes() -> None:
    choose = SeededChooser(1, 2)
    assert {choose.index(5) for _ in range(200)} == set(range(5))
    assert {choose.index(1) for _ in range(20)} == {0}


@pytest.mark.parametrize("other", [(8, 3), (7, 4), (-7, 3)])
def test_another_seed_or_example_chooses_otherwise(other: tuple[int, int]) -> None:
    first, second = SeededChooser(7, 3), SeededChooser(*other)
    assert [first.index(1000) for _ in range(8)] != [second.index(1000) for _ in range(8)]


def test_the_choices_of_a_seed_are_fixed_for_ever() -> None:
    choose = SeededChooser(42, 0)
    assert [choose.index(1000) for _ in range(6)] == FIXED


FIXED = [614, 450, 206, 399, 746, 545]


# The same again


@pytest.mark.unmeasured
def test_another_seed_takes_other_steps() -> None:
    assert steps_of(walk(request(seed=1))) != steps_of(walk(request(seed=2)))


@pytest.mark.unmeasured
def test_an_example_does_not_depend_on_those_before_it() -> None:
    collision = {"collision": LAYOUTS["collision"](GEOMETRIES["tiny"])}
    wanted = replace(request(), layouts=collision)
    both, second = RandomWalk(request=wanted), RandomWalk(request=wanted)
    both.walk(range(5))
    before = {name: sum(counts.values()) for name, counts in both.coverage.outcomes.items()}
    both.walk(range(5, 6))
    second.walk(range(5, 6))
    alone = {name: sum(counts.values()) for name, counts in second.coverage.outcomes.items()}
    total = {name: sum(counts.values()) for name, counts in both.coverage.outcomes.items()}
    assert {n: nr - before.get(n, 0) for n, nr in total.items() if nr > before.get(n, 0)} == alone


@pytest.mark.unmeasured
def test_to_forget_what_is_sound_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    remembering = steps_of(walk(request()))
    monkeypatch.setattr(walking, "MAX_SOUND", 10)
    assert steps_of(walk(request())) == remembering


@pytest.mark.unmeasured
@pytest.mark.parametrize("release", [None, "5.11"])
def test_workers_find_what_one_process_finds(release: str | None) -> None:
    alone, shared = (walk(replace(request(release, 900), workers=nr)) for nr in (1, 2))
    assert steps_of(shared) == steps_of(alone)
    assert shared.trace == alone.trace
    assert (shared.trace is None) == (release is None)


# Finding


def test_the_collision_of_v5_11_is_one_operation() -> None:
    variant = KernelVariant.named(None, (COLLISION,))
    whole, minimal = found_by(replace(request(), variant=variant))
    assert replay(whole)[0] == len(whole.events) - 1
    assert len(minimal.events) == 1
    assert minimal.violates == whole.violates
    assert replay(minimal)[0] == 0


@pytest.mark.unmeasured
def test_mainline_holds_on_every_layout() -> None:
    report = walk(request(steps=3000))
    assert (report.verdict, report.flaky, report.violations) == ("held", None, [])
    assert (report.coverage.steps, report.coverage.examples) == (3000, 75)


def test_the_last_example_is_cut_to_the_number_of_steps() -> None:
    coverage = walk(request(steps=95)).coverage
    assert (coverage.steps, coverage.examples) == (95, 3)


@pytest.mark.unmeasured
def test_known_defects_are_counted_apart_and_count_if_strict() -> None:
    assert walk(request()).coverage.known
    found = walk(replace(request(), strict=True)).trace
    assert found is not None
    assert found.strict


def test_a_walk_stops_when_its_time_is_over() -> None:
    report = walk(replace(request(steps=1 << 40), seconds=0.3))
    assert 0.3 <= report.seconds < 30
    assert 0 < report.coverage.steps < 1 << 20


def test_workers_stop_when_the_time_is_over() -> None:
    # Where the machine is busy they may not have begun by then.
    report = walk(replace(request(steps=1 << 40), seconds=1, workers=2))
    assert report.coverage.steps < 1 << 20


@pytest.mark.unmeasured
def test_a_walk_counts_the_same_kinds_of_things_as_a_check() -> None:
    wanted = request()
    checked = check(
        CheckRequest(
            variant=wanted.variant, geometry="tiny", layouts=wanted.layouts,
            profile=Profile(examples=5, steps=20),
        )
    ).coverage  # fmt: skip
    walked = walk(wanted).coverage
    assert shape(walked.to_json()) == shape(checked.to_json())
    assert walked.pairs <= {(a, b) for a in OPS.names() for b in OPS.names()}
    assert walked.reached <= set(SOMETIMES.names())
    total = sum(sum(counts.values()) for counts in walked.outcomes.values())
    assert total == walked.steps == 400


def shape(value: object) -> object:
    """The keys of nested dictionaries, refusals apart."""
    if not isinstance(value, dict):
        return type(value)
    return {key: shape(each) for key, each in value.items() if key != "refused"}


@pytest.mark.unmeasured
def test_coverage_of_two_runs_adds_up() -> None:
    first, second, both = Coverage(), Coverage(), Coverage()
    whole = RandomWalk(request=request(), coverage=both)
    whole.walk(range(4))
    RandomWalk(request=request(), coverage=first).walk(range(2))
    RandomWalk(request=request(), coverage=second).walk(range(2, 4))
    first.merge(second)
    assert first.to_json() == both.to_json()
    assert (first.examples, first.steps, first.known) == (4, 160, both.known)


# The command


def test_a_counterexample_is_written_and_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WALK, "--json", "out.json"]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"VIOLATED: mainline without {COLLISION} at tiny: ")
    (written,) = Path("hotplug-traces").iterdir()
    assert out.splitlines()[-1] == f"hotplug-model replay {written}"
    assert len(Trace.loads(written.read_text()).events) == 1
    assert main(["replay", str(written)]) == 0
    result = json.loads(Path("out.json").read_text())
    assert (result["verdict"], result["violations"][0]["trace"]) == ("violated", str(written))


def test_the_command_in_a_trace_repeats_the_walk() -> None:
    main([*WALK, "--seed", "7", "--steps", "4000"])
    (written,) = Path("hotplug-traces").iterdir()
    found = Trace.loads(written.read_text()).found
    assert found.keys() == {"seed", "command", "minimal"}
    written.unlink()
    assert main(str(found["command"]).split()[1:]) == 1
    assert written.exists()


def test_mainline_is_exit_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["walk", "--steps", "120"]) == 0
    assert capsys.readouterr().out.startswith("HELD: mainline at tiny: 3 examples, 120 steps, ")


def test_a_walk_needs_no_hypothesis() -> None:
    code = (
        "import sys; from hotplug_model.__main__ import main; code = main(sys.argv[1:]); "
        "print(code, 'hypothesis' in sys.modules)"
    )
    command = [sys.executable, "-c", code, *WALK]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "1 False"


MISTAKES = {
    "walk --steps 0": "invalid number of steps",
    "walk --steps many": "invalid number of steps",
    "walk --seconds -1": "invalid number of seconds",
    "walk --steps 5 --seconds 5": "not allowed with",
    "walk --workers 0": "invalid number of workers",
    "walk --profile ci": "unrecognized arguments: --profile",
    "walk --geometry tinny": "did you mean tiny,",
    "walk --boot colision": "did you mean collision",
    "walk --release 5.1l": "no release '5.1l'",
    "walk --json nowhere/out.json": "JSON to nowhere/out.json: No such file or directory",
}


@pytest.mark.parametrize(("args", "reason"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_gets_one_line_and_exit_2(
    args: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args.split()) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert reason in captured.err


@pytest.mark.parametrize("arguments", [[], ["--workers", "2"]], ids=["alone", "workers"])
@pytest.mark.parametrize("seconds", [0.3, 2.5])
def test_ctrl_c_ends_a_walk_with_130_and_no_traceback(seconds: float, arguments: list[str]) -> None:
    code, printed = interrupted(["walk", "--geometry", "x86_64", *arguments], seconds)
    assert code == 130, printed
    assert "Traceback" not in printed


def test_ctrl_c_while_workers_start_is_not_lost() -> None:
    # Tests that run in the background have it ignored.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), blocked_interrupts():
            # To this thread: another one, whose mask is open, would pass it on at any time.
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, usual)


def test_workers_never_see_ctrl_c() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    with blocked_interrupts():
        worker = subprocess.Popen([sys.executable, "-c", code])
    assert worker.wait() == 0


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_was_tried_until_ctrl_c_is_reported() -> None:
    report = walk(request(), on_step=interrupt)
    assert (report.interrupted, report.coverage.steps, report.verdict) == (True, 1, "held")


def test_ctrl_c_while_minimising_says_where_the_trace_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verdict, "certify", interrupt)
    assert main(WALK) == 130
    (written,) = Path("hotplug-traces").iterdir()
    assert capsys.readouterr().err.endswith(f"interrupted; counterexample so far: {written}\n")


def test_what_workers_had_found_is_kept_on_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    wait: Callable[..., object] = wait_for

    def found_then_interrupted(*args: object) -> None:
        wait(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(walking, "wait_for", found_then_interrupted)
    report = walk(replace(request("5.11"), workers=2))
    assert report.interrupted
    assert report.trace is not None


def test_a_counterexample_that_does_not_repeat_is_flaky(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verdict, "replay", lambda trace: (None, []))
    assert main(WALK) == 3
    assert capsys.readouterr().out.startswith("FLAKY: ")
