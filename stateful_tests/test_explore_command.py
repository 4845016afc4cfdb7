"""``hotplug-model explore``: what it prints, writes and returns."""

from __future__ import annotations

import json
import re
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from hotplug_model import walk
from hotplug_model.__main__ import main
from hotplug_model.commands import search
from hotplug_model.explore import Exploration, explored
from hotplug_model.ops import drawn_ops
from hotplug_model.report import progress
from hotplug_model.trace import Trace
from stateful_tests.test_cli_process import interrupted

OLD = ["explore", "--release", "5.11", "--boot", "collision"]
SMALL = [
    "explore", "--boot", "collision", "--ops", "add_memory,remove_memory", "--unusual", "0",
    "--depth", "full",
]  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a working directory of its own."""
    monkeypatch.chdir(tmp_path)


def test_a_shortest_counterexample_is_written_and_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*OLD, "--json", "out.json"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("VIOLATED: v5.11 at tiny: 1 step, shortest possible (searched), ")
    (written,) = Path("hotplug-traces").iterdir()
    assert out.splitlines()[-1] == f"hotplug-model replay {written}"
    assert len(out.splitlines()) <= 55
    trace = Trace.loads(written.read_text())
    assert len(trace.events) == 1
    assert main(["replay", str(written)]) == 0
    result = json.loads(Path("out.json").read_text())
    assert (result["verdict"], result["shortest"]) == ("violated", 1)
    assert result["violations"][0]["trace"] == str(written)


def test_the_command_in_a_trace_repeats_the_search() -> None:
    main([*OLD, "--workers", "2", "--ops", "memremap_pages,add_memory", "--no-symmetry"])
    (written,) = Path("hotplug-traces").iterdir()
    found = str(Trace.loads(written.read_text()).found["command"])
    written.unlink()
    assert main(found.split()[1:]) == 1
    assert written.exists()


def test_failing_allocations_are_tried_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    nr = []
    for arguments in (SMALL, [*SMALL, "--faults"]):
        assert main([*arguments, "--depth", "1", "--json", "-"]) == 0
        nr.append(json.loads(capsys.readouterr().out)["transitions"])
    assert nr[0] < nr[1]


def test_what_holds_is_exit_0_and_says_how_far(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SMALL) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("HELD: mainline at tiny: complete, ")
    assert re.fullmatch("  3 states, [0-9]+ transitions; 3 states in which .* tried", second)
    assert third == "  1 boot layout: add_memory, remove_memory; at most no unusual choices each"
    assert main([*SMALL[:-1], "1"]) == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("HELD: mainline at tiny: complete to depth 1, ")
    assert second.endswith("; 1 state in which everything was tried")


def test_without_symmetry_more_states_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--no-symmetry"]) == 0
    assert "\n  4 states, " in capsys.readouterr().out


def test_all_boot_layouts_are_explored_unless_one_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["explore", "--depth", "0", "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["states"] == result["boot_layouts"] > 1
    assert (result["depth"], result["complete"], result["transitions"]) == (0, False, 0)


def test_workers_find_what_one_process_finds(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for workers in ("1", "2"):
        main([*OLD, "--ops", "memremap_pages", "--json", "-", "--workers", workers])
        printed.append(json.loads(capsys.readouterr().out) | {"seconds": 0})
    assert printed[0] == printed[1]


def test_progress_names_states_frontier_depth_and_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    assert main(SMALL) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("exploring: 1 state, 1 in the frontier, depth 1, ")
    assert all(" transitions/s, " in line for line in lines)


def test_a_counterexample_that_does_not_repeat_is_flaky(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(explored, "replay", lambda trace: (None, []))
    assert main([*OLD, "--ops", "memremap_pages"]) == 3
    assert capsys.readouterr().out.startswith("FLAKY: ")


def test_a_counterexample_that_does_not_repeat_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(explored, "replay", lambda trace: (None, []))
    assert main(OLD) == 3
    (written,) = Path("hotplug-traces").iterdir()
    assert f"unconfirmed counterexample: {written}" in capsys.readouterr().out


def test_what_was_not_tried_is_not_proven(capsys: pytest.CaptureFixture[str]) -> None:
    change = ["explore", "--change", "7cf209ba8a86", "--boot", "collision", "--unusual", "0"]
    assert main([*change, "--ops", "add_memory,online_memory_block", "--depth", "2"]) == 1
    assert "2 steps, shortest of what was tried," in capsys.readouterr().out


def test_a_worker_that_is_killed_ends_the_search(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(*args: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr(Exploration, "run", killed)
    assert main(SMALL) == 3
    out = capsys.readouterr().out
    assert out.startswith("STOPPED: mainline at tiny: complete to depth 0, ")
    assert "  stopped: a worker process was killed, perhaps for want of memory" in out
    monkeypatch.setattr(walk, "explore_in_processes", killed)
    assert main(["walk", "--steps", "100", "--workers", "2"]) == 3
    out = capsys.readouterr().out
    assert out.startswith("STOPPED: mainline at tiny: 0 examples, ")
    assert "  stopped: a worker process was killed" in out


def test_a_counterexample_with_which_fresh_processes_disagree_is_flaky(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search, "disagreement", lambda trace: "1 of 3")
    assert main([*OLD, "--ops", "memremap_pages", "--json", "out.json"]) == 3
    out = capsys.readouterr().out
    assert out.startswith("FLAKY: ")
    assert "\n  flaky: 1 of 3\n" in out
    assert json.loads(Path("out.json").read_text())["violations"] == []


MISTAKES = {
    "--depth -1": "invalid depth, a number or full",
    "--checkpoint=": "--checkpoint: the name of a file is empty",
    "--depth deep": "invalid depth, a number or full",
    "--ops ad_memory": "did you mean add_memory",
    "--ops add_memory,": "invalid list of names",
    "--unusual -1": "invalid number of unusual choices",
    "--workers 0": "invalid number of workers",
    "--geometry tinny": "did you mean tiny,",
    "--boot colision": "did you mean collision",
    "--change nothing": "no change 'nothing'",
    "--json nowhere/out.json": "cannot write JSON",
    "--checkpoint nowhere/c": "checkpoint nowhere/c: No such file",
    "--seed 1": "unrecognized arguments: --seed",
}


@pytest.mark.parametrize(("args", "reason"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_gets_one_line_and_exit_2(
    args: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explore", *args.split()]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert reason in captured.err


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("seconds", [0.3, 2.0])
def test_ctrl_c_ends_a_search_with_130_and_no_traceback(seconds: float, workers: str) -> None:
    code, printed = interrupted(["explore", "--depth", "full", "--workers", workers], seconds)
    assert code == 130, printed
    assert "Traceback" not in printed


def test_an_interrupted_search_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(self: object, exploration: Exploration) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(progress.ExploreProgress, "step", interrupt)
        assert main([*SMALL, "--checkpoint", "c"]) == 130
    first, second, _, last = capsys.readouterr().out.splitlines()
    assert first.startswith("HELD (interrupted): mainline at tiny: complete to depth 0, ")
    assert second.endswith("; 0 states in which everything was tried")
    assert last == "  the same command goes on from c"
    assert main([*SMALL, "--checkpoint", "c"]) == 0


def test_every_operation_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    names = ",".join(drawn_ops())
    assert main(["explore", "--ops", names, "--depth", "0"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in drawn_ops())
