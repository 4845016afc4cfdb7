"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hotplug_model.trace import Trace, broken, replay
from stateful_tests.traces import collision

MACHINE = """
from hotplug_model.machine import case_for
TestCollision = case_for("1f90a3477df3", geometry="tiny")
"""
SETTINGS = """
from hypothesis import settings, Phase
settings.register_profile("quick", max_examples=100, database=None, derandomize=True,
                          phases=(Phase.generate,))
settings.load_profile("quick")
"""


def run_pytest(where: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """pytest in *where*, which is a project of its own."""
    (where / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "HOTPLUG"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *args],
        cwd=where, env=inherited | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def regression(where: Path, name: str, text: str) -> None:
    """A file in the project's ``regressions``."""
    folder = where / "regressions"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)


def on_mainline(strict: bool) -> Trace:
    """A trace that mainline does not survive, as it says itself."""
    trace = replace(collision(), changes=(), strict=strict)
    index, violations = replay(replace(trace, strict=True))
    assert index == 0
    return replace(trace, violates=broken(violations))


def test_a_regression_is_one_passing_test(tmp_path: Path) -> None:
    regression(tmp_path, "collision.json", collision().dumps())
    regression(tmp_path, "known-defect.json", on_mainline(strict=True).dumps())
    regression(tmp_path, "holds.json", replace(collision(), changes=(), violates=()).dumps())
    (tmp_path / "other.json").write_text("{}")
    result = run_pytest(tmp_path, "-rA")
    assert result.returncode == 0, result.stdout
    assert "PASSED regressions/collision.json::collision" in result.stdout
    assert "3 passed" in result.stdout


FAILURES = {
    "not-canonical": (collision().dumps() + "\n", "the text is not canonical"),
    "no-trace": ("{}", "field 'format' is missing"),
    "too-early": (
        replace(collision(), events=collision().events * 2).dumps(),
        "at step 2, but this happens: break walkers",
    ),
    "other-invariant": (
        replace(collision(), violates=("zone_spans_shrink",)).dumps(),
        "should break zone_spans_shrink at step 1, but this happens: break walkers",
    ),
    "holds-not": (replace(collision(), violates=()).dumps(), "should hold, but"),
    "claims": (on_mainline(strict=False).dumps(), "should break"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_regression_that_is_not_as_it_says_fails_with_one_reason(
    tmp_path: Path, name: str
) -> None:
    text, reason = FAILURES[name]
    regression(tmp_path, f"{name}.json", text)
    result = run_pytest(tmp_path)
    assert result.returncode == 1
    assert reason in result.stdout
    assert "Traceback" not in result.stdout
    assert "def runtest" not in result.stdout


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_failing_machine_leaves_its_minimal_trace(
    tmp_path: Path, workers: tuple[str, ...]
) -> None:
    (tmp_path / "test_it.py").write_text(SETTINGS + MACHINE)
    result = run_pytest(tmp_path, "--hotplug-traces", "kept", *workers)
    assert result.returncode == 1, result.stdout + result.stderr
    (written,) = (tmp_path / "kept").iterdir()
    trace = Trace.loads(written.read_text())
    assert broken(replay(trace)[1]) == trace.violates
    assert len(trace.events) == 1
    summary = result.stdout[result.stdout.index("hotplug-model traces") :].splitlines()
    assert summary[1] == f"test_it.py::TestCollision::runTest: {written}"
    assert summary[2] == f"replay: hotplug-model replay {written}"
    assert "violates walkers_take_no_zone_device_page in step 1" in result.stdout


def test_traces_go_to_the_cache_by_default(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SETTINGS + MACHINE)
    result = run_pytest(tmp_path)
    (written,) = (tmp_path / ".pytest_cache/d/hotplug-traces").iterdir()
    assert f"replay: hotplug-model replay {written}" in result.stdout


def test_a_trace_that_cannot_be_written_is_in_the_failure(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SETTINGS + MACHINE)
    (tmp_path / "file").write_text("in the way")
    result = run_pytest(tmp_path, "--hotplug-traces", "file")
    assert "cannot write a trace to" in result.stdout
    assert '"op": "memremap_pages"' in result.stdout


def test_a_change_of_ones_own_is_named_in_the_replay_command(tmp_path: Path) -> None:
    own = (
        "from dataclasses import replace\n"
        "def forgets(rules):\n    return replace(rules, asks_pfn_valid={'memory_failure'})\n"
    )
    (tmp_path / "own_rules.py").write_text(own)
    machine = MACHINE.replace("1f90a3477df3", "own_rules:forgets")
    (tmp_path / "test_it.py").write_text(SETTINGS + machine)
    result = run_pytest(tmp_path, "--hotplug-traces", "kept")
    (written,) = (tmp_path / "kept").iterdir()
    command = f"hotplug-model replay --change own_rules:forgets {written}"
    assert f"replay: {command}" in result.stdout


PROFILE = """
import sys
from hypothesis import settings
def test_it():
    raise AssertionError(settings.get_current_profile_name())
"""


@pytest.mark.parametrize(
    ("environment", "args", "profile"),
    [
        ({}, [], "dev"),
        ({"CI": "true"}, [], "dev"),
        ({"HOTPLUG_PROFILE": "nightly", "CI": "true"}, [], "nightly"),
        ({"HOTPLUG_PROFILE": "nightly"}, ["--hypothesis-profile", "ci"], "ci"),
    ],
)
def test_the_profile_is_the_one_that_was_asked_for(
    tmp_path: Path, environment: dict[str, str], args: list[str], profile: str
) -> None:
    conftest = Path(__file__).parent.parent / "conftest.py"
    (tmp_path / "conftest.py").write_text(conftest.read_text())
    (tmp_path / "test_it.py").write_text(PROFILE)
    result = run_pytest(tmp_path, *args, **environment)
    assert f"AssertionError: {profile}" in result.stdout


def test_an_unknown_profile_is_a_usage_error(tmp_path: Path) -> None:
    conftest = Path(__file__).parent.parent / "conftest.py"
    (tmp_path / "conftest.py").write_text(conftest.read_text())
    result = run_pytest(tmp_path, HOTPLUG_PROFILE="nightl")
    assert result.returncode == 4
    assert "did you mean nightly?" in result.stdout + result.stderr


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys, hotplug_model.pytest_plugin\n"
        "print(sorted(m for m in sys.modules if m.startswith(('hotplug_model', 'numpy', 'hyp'))))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "['hotplug_model', 'hotplug_model.pytest_plugin']\n"
