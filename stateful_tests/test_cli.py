"""The command line: one exit code a fact, one line a mistake."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from hotplug_model import trace_file
from hotplug_model import verdict as checking
from hotplug_model.__main__ import main
from hotplug_model.cli import LISTS, make_parser
from hotplug_model.commands import list as listing
from hotplug_model.commands.check import request_of
from hotplug_model.coverage import Coverage
from hotplug_model.defects import DEFECTS
from hotplug_model.report import progress, summary
from hotplug_model.report.lines import show
from hotplug_model.trace import Trace, replay
from hotplug_model.verdict import Report
from stateful_tests.traces import COLLISION, collision

CHECK = ["check", "--change", COLLISION, "--boot", "collision", "--seed", "3"]
"""The seed is one that finds it soon."""
OWN = """
from dataclasses import replace

def forgets(rules):
    \"\"\"Walkers do not ask.\"\"\"
    return replace(rules, asks_pfn_valid={"memory_failure"})

def fails(rules):
    raise RuntimeError("two\\nlines")

def returns_nothing(rules):
    return None

def misspelt(rules):
    return replace(rules, zone_device_init="defered")

def no_walker(rules):
    return replace(rules, asks_pfn_valid={"memory_failures"})

def no_function(rules):
    return replace(rules, block_zone=2)

def no_truth(rules):
    return replace(rules, early_memmap_kept="yes")
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield
    sys.path[:] = before


def test_a_counterexample_is_written_reported_and_replayed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(CHECK) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].startswith(f"VIOLATED: mainline without {COLLISION} at tiny: ")
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    (written,) = Path("hotplug-traces").iterdir()
    assert lines[-1] == f"hotplug-model replay {written}"
    assert written.read_text() == Trace.loads(written.read_text()).dumps()
    assert main(["replay", str(written)]) == 0
    assert capsys.readouterr().out.startswith(f"ok {written}: breaks ")
    assert main(["show", str(written)]) == 0
    assert f"mainline without {COLLISION} violates" in capsys.readouterr().out


def test_the_command_in_a_trace_repeats_the_search(capsys: pytest.CaptureFixture[str]) -> None:
    main([*CHECK, "--seed", "7"])
    (written,) = Path("hotplug-traces").iterdir()
    found = Trace.loads(written.read_text()).found
    assert found["seed"] == 7
    written.unlink()
    assert main(str(found["command"]).split()[1:]) == 1
    assert written.exists()


@pytest.mark.parametrize("called", [COLLISION[:8], COLLISION + "0" * 28])
def test_a_trace_has_the_registered_names_whatever_they_were_called(called: str) -> None:
    assert main(["explore", "--boot", "collision", "--change", called, "--release", "v6.1"]) == 1
    (written,) = Path("hotplug-traces").iterdir()
    trace = Trace.loads(written.read_text())
    assert (trace.release, trace.changes) == ("6.1", (COLLISION,))
    assert f" --change {COLLISION} --release 6.1 " in str(trace.found["command"])


def test_json_on_stdout_is_all_there_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*CHECK, "--json", "-"]) == 1
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["verdict"] == "violated"
    assert result["variant"] == f"mainline without {COLLISION}"
    assert (result["geometry"], result["seed"]) == ("tiny", 3)
    assert result["examples"] > 0
    assert result["coverage"]["operations"]["memremap_pages"]["drawn"] > 0
    first = result["violations"][0]
    assert first.keys() == {"invariant", "pfns", "message", "source", "milestone", "trace"}
    assert Path(first["trace"]).exists()
    assert "VIOLATED" in captured.err


def test_json_goes_to_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["check", "--seconds", "0.3", "--json", "out.json"])
    result = json.loads(Path("out.json").read_text())
    assert result["verdict"] == ("violated" if code else "held")
    assert main(["check", "--json", "nowhere/out.json"]) == 2
    assert "cannot write JSON" in capsys.readouterr().err


def test_a_trace_that_cannot_be_written_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("in the way")
    assert main([*CHECK, "--traces", "file"]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("cannot write a trace to file") == 1
    printed = captured.out[captured.out.index("{\n") :]
    assert Trace.loads(printed).violates


def test_a_full_disk_leaves_no_half_written_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    kept = trace_file.TraceFile(tmp_path / "traces")
    assert kept.write(collision()) is None
    assert "No space left on device" in kept.problem
    assert list((tmp_path / "traces").iterdir()) == []


def test_a_better_trace_takes_the_place_of_the_last(tmp_path: Path) -> None:
    kept = trace_file.TraceFile(tmp_path)
    long, short = kept.write(collision("tiny", 4)), kept.write(collision())
    assert long != short
    assert list(tmp_path.iterdir()) == [short]


MISTAKES = {
    "chekc": "did you mean check?",
    "check --profile cii": "did you mean ci?",
    "check --release 5.1l": "no release '5.1l'",
    "check --change 1f90a3": "did you mean 1f90a3477df3",
    "check --change no_such_module:f": "No module named",
    "check --change own:nothing": "has no attribute",
    "check --change own:fails": "two lines",
    "check --change own:returns_nothing": "must take KernelRules",
    "check --change own:misspelt": "did you mean deferred?",
    "check --change own:no_walker": "change 'own:no_walker': rule 'asks_pfn_valid': no walker",
    "check --change own:no_function": "rule 'block_zone' must be a function",
    "check --change own:no_truth": "rule 'early_memmap_kept' must be of type bool",
    "check --change broken:f": "never closed",
    "check --geometry tinny": "did you mean tiny,",
    "check --boot colision": "did you mean collision",
    "check --boot missing.json": "cannot read it: No such file",
    "check --boot bad.json": "bad.json: field 'ram' is missing",
    "check --seconds soon": "invalid number of seconds",
    "check --seconds -1": "invalid number of seconds",
    "check --frobnicate": "unrecognized arguments: --frobnicate",
    "list opps": "did you mean ops?",
    "replay": "required: FILE",
    "replay missing.json": "missing.json: cannot read it: No such file",
    "replay .": "Is a directory",
    "replay empty": "not JSON",
    "replay binary": "not text",
    "replay bad.json": "'format' is missing",
    "show bad.json": "'format' is missing",
}


@pytest.mark.parametrize(("args", "reason"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_gets_one_line_and_exit_2(
    args: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own.py").write_text(OWN)
    Path("broken.py").write_text("x = (")
    Path("bad.json").write_text("{}")
    Path("empty").write_text("")
    Path("binary").write_bytes(bytes(range(256)))
    assert main(args.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("hotplug-model: ")
    assert reason in captured.err
    assert captured.err.count("\n") == 1


def test_a_file_that_the_system_refuses_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    # Of root a mode asks nothing, so a link to itself stands for what cannot be read.
    Path("loop").symlink_to("loop")
    assert main(["replay", "loop"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "Too many levels of symbolic links" in captured.err


def test_a_change_of_ones_own_is_found_in_the_working_directory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("own_change.py").write_text(OWN)
    assert main(["check", "--change", "own_change:forgets", "--boot", "collision"]) == 1
    (written,) = Path("hotplug-traces").iterdir()
    capsys.readouterr()
    assert main(["replay", str(written)]) == 2
    assert "which is code; pass it with --change" in capsys.readouterr().err
    assert main(["replay", "--change", "own_change:forgets", str(written)]) == 0
    main(["show", "--change", "own_change:forgets", str(written)])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"hotplug-model replay --change own_change:forgets {written}"[-len(last) :]


def test_replay_says_when_a_verdict_is_not_as_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.json").write_text(collision().dumps())
    Path("holds.json").write_text(replace(collision(), violates=()).dumps())
    Path("bad.json").write_text("")
    assert main(["replay", "t.json", "--release", "6.1"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("DIFFERS t.json: recorded breaks ")
    assert main(["replay", "holds.json"]) == 1
    assert main(["replay", "holds.json", "bad.json", "t.json"]) == 2
    assert "ok t.json" in capsys.readouterr().out


def test_ctrl_c_while_minimising_says_where_the_trace_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(trace: Trace, boots: object) -> Trace:
        raise KeyboardInterrupt

    monkeypatch.setattr(checking, "certify", interrupted)
    assert main(CHECK) == 130
    (written,) = Path("hotplug-traces").iterdir()
    said = f"hotplug-model: interrupted; counterexample so far: {written}\n"
    assert capsys.readouterr().err.endswith(said)


def test_a_counterexample_that_does_not_repeat_is_flaky(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checking, "replay", lambda trace: (None, []))
    assert main([*CHECK, "--json", "out.json"]) == 3
    out = capsys.readouterr().out
    (written,) = Path("hotplug-traces").iterdir()
    assert out.startswith("FLAKY: ")
    assert f"unconfirmed counterexample: {written}" in out
    assert "did not repeat" in json.loads(Path("out.json").read_text())["flaky"]


def test_a_terminal_gets_a_bar_and_everyone_else_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    main(CHECK)
    plain = capsys.readouterr().err
    assert re.search(r"^checking: 1 example, 1 step, \d+ s$", plain, re.MULTILINE)
    assert "\x1b" not in plain
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.0)
    main([*CHECK, "--seconds", "60"])
    assert "\x1b" in capsys.readouterr().err


def test_known_defects_are_listed_and_do_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    trace = on_mainline()
    report = Report(request=request_of(check_arguments()), coverage=Coverage())
    report.coverage.known.update(dict.fromkeys(DEFECTS.names(), 3))
    show([*summary.known_defects(report.coverage.known, 1), summary.verdict(report)])
    out = capsys.readouterr().out
    assert out.startswith(f"  known defect {DEFECTS.names()[0]} (3 times): ")
    assert f"... {len(DEFECTS) - 1} more known defects" in out
    assert "HELD: mainline at tiny" in out
    assert replay(trace)[0] is None
    assert replay(replace(trace, strict=True))[0] == 0


def on_mainline() -> Trace:
    """What mainline survives, but for a known defect."""
    return replace(collision(), changes=(), violates=())


def check_arguments() -> argparse.Namespace:
    """``check`` without an argument."""
    return make_parser().parse_args(["check"])


def test_conform_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "missing.json"]) == 2
    assert capsys.readouterr().err.startswith("hotplug-model: ")


def test_a_boot_layout_may_come_from_a_file() -> None:
    boot = json.loads(collision().dumps())["boot"]
    Path("boot.json").write_text(json.dumps(boot))
    assert main([*CHECK, "--boot", "boot.json"]) == 1


@pytest.mark.parametrize("what", LISTS)
def test_every_list_has_a_name_and_a_line_for_each(
    what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", what]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(["list", what, "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert len(entries) == len(lines) > 0
    for text, entry in zip(lines, entries, strict=True):
        assert text.startswith(entry["name"])
        assert entry["doc"]
        assert len(text) <= 100


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hotplug-model {metadata.version('hotplug-model')}\n"


def test_every_list_is_offered() -> None:
    assert tuple(listing.LISTS) == LISTS


FLOOR = """
[tool.hotplug-model.profiles.mine]
examples = 1
steps = 1
floor = { sometimes = 1 }
"""


def test_a_state_that_was_never_reached_is_exit_4_of_a_whole_run_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("pyproject.toml").write_text(FLOOR)
    assert main(["check", "--profile", "mine", "--json", "out.json"]) == 4
    assert "below the floor: sometimes: " in (out := capsys.readouterr().out)
    assert "never a_page_is_poisoned" in " ".join(out.split())
    (missed,) = json.loads(Path("out.json").read_text())["below_the_floor"]
    assert missed.startswith("sometimes: ")
    for partial in (["--boot", "collision"], ["--release", "6.12"], ["--seconds", "0.01"]):
        assert main(["check", "--profile", "mine", *partial]) == 0
    Path("pyproject.toml").write_text(FLOOR.replace("sometimes = 1", "sometimes = 0"))
    assert main(["check", "--profile", "mine"]) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[tool.hotplug-model]\nprofile = 1", "no key 'profile'; did you mean profiles?"),
        ("[tool.hotplug-model.profiles.ci]\nexample = 1", "did you mean examples"),
        ("[tool.hotplug-model.profiles.ci.floor]\npair = 1", "did you mean pairs?"),
        ("[tool.hotplug-model.profiles.ci.floor]\npairs = 2", "expected a share from 0 to 1"),
        ("[tool.hotplug-model.profiles.ci]\nsteps = 0", "expected a positive number, found 0"),
        ("[tool.hotplug-model.profiles]\nci = 3", "expected a table, found 3"),
        ("[tool.hotplug-model", "not TOML"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line_and_exit_2(
    text: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pyproject.toml").write_text(text)
    assert main(["check", "--profile", "ci"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert reason in captured.err


def test_an_error_of_ours_is_exit_3_and_asks_for_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # No number of arguments; no code of anybody else is in between.
    monkeypatch.setattr(listing, "run", divmod)
    assert main(["list", "ops"]) == 3
    quiet = capsys.readouterr().err
    assert quiet.count("\n") == 1
    assert "internal error, please report it" in quiet
    monkeypatch.setenv("HOTPLUG_MODEL_DEBUG", "1")
    assert main(["list", "ops"]) == 3
    assert "Traceback" in capsys.readouterr().err
