"""What the README says is so: its commands exist, its examples run, its verdicts come out."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import CHANGES, RELEASES
from hotplug_model.cli import make_parser
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.invariants import INVARIANTS
from hotplug_model.ops import Op
from hotplug_model.ops.memory_block import OnlineMemoryBlock, VetoMemoryNotifier
from hotplug_model.ops.memory_hotplug import AddMemory
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.pfn import PfnRange
from hotplug_model.settings import PROFILES
from hotplug_model.trace import Trace, broken, replay

pytestmark = pytest.mark.unmeasured

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"<!-- example: (\w+\.py) -->\n```python\n(.*?)```", TEXT, re.DOTALL))
SHELL = "".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)).splitlines()
COMMANDS = [line for line in SHELL if line.startswith("hotplug-model ")]
SET_UP = [line for line in SHELL if line.startswith("python3 -m venv ")]


def test_the_readme_has_all_that_is_tested_here() -> None:
    assert sorted(EXAMPLES) == [
        "my_marks.py", "my_patch.py", "my_user.py", "test_my_invariant.py", "test_my_operation.py",
        "test_my_walker.py",
    ]  # fmt: skip
    assert (len(SET_UP), len(COMMANDS) > 5) == (2, True)


# Commands


@pytest.mark.parametrize("command", SET_UP)
def test_ci_runs_the_very_command_that_sets_up(command: str) -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line.strip() for line in lines].count(command) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_no_unknown_name(command: str) -> None:
    args = make_parser().parse_args(shlex.split(command, comments=True)[1:])
    given = vars(args)
    assert given.get("release") in (None, *RELEASES)
    assert (given.get("geometry") or "tiny") in GEOMETRIES
    assert given.get("boot") in (None, *LAYOUTS.names())
    assert given.get("profile", "dev") in PROFILES
    assert all(":" in name or name in CHANGES for name in given.get("change", []))


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) <= anchors


def test_files_that_are_named_are_there() -> None:
    named = {name for name in re.findall(r"`([\w./-]+\.py)`", TEXT) if name not in EXAMPLES}
    assert named
    places = (ROOT, ROOT / "hotplug_model")
    assert [n for n in named if not any((place / n).exists() for place in places)] == []


def test_invariants_that_are_named_exist() -> None:
    named = set(re.findall(r"`((?:walkers|refusals)_[a-z_]+)`", TEXT))
    assert named
    assert named <= set(INVARIANTS.names())


# Examples


def run_example(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run *command* beside all of the examples, as small as this project's own tests."""
    for name, code in EXAMPLES.items():
        (directory / name).write_text(code, encoding="utf-8")
    shutil.copy(ROOT / "conftest.py", directory)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=directory,
        env=environment | {"HOTPLUG_PROFILE": "dev"},
        capture_output=True,
        text=True,
        check=False,
    )


def pytest_example(directory: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Run an example that is a test file, with a fixed seed."""
    return run_example(directory, "pytest", "-rA", "--hypothesis-seed=0", name)


def test_the_walker_is_caught(tmp_path: Path) -> None:
    result = pytest_example(tmp_path, "test_my_walker.py")
    assert result.returncode == 1, result.stdout + result.stderr
    # Which of the two depends on what is drawn first.
    assert re.search(
        "mainline violates walkers_(read_no_poisoned|take_no_zone_device)_page in step 1",
        result.stdout,
    )
    assert "walkers_read_no_poisoned_page at" in result.stdout
    assert "Walkers: my_driver_scan() in drivers/my_driver.c" in result.stdout


def test_the_invariant_holds_on_mainline_and_not_without_the_taint(tmp_path: Path) -> None:
    result = pytest_example(tmp_path, "test_my_invariant.py")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "PASSED test_my_invariant.py::TestMainline" in result.stdout
    assert "FAILED test_my_invariant.py::TestWithoutTheTaint" in result.stdout
    assert "violated: device_memory_taints_online_sections" in result.stdout


def test_the_operation_takes_part_and_mainline_holds(tmp_path: Path) -> None:
    result = pytest_example(tmp_path, "test_my_operation.py")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout


def test_defining_the_operation_registers_it(tmp_path: Path) -> None:
    code = "from test_my_operation import *; from hotplug_model.ops import OPS; print(OPS.names())"
    (tmp_path / "registered.py").write_text(code)
    assert "'reload_driver'" in run_example(tmp_path, "registered").stdout


def test_the_patch_is_caught(tmp_path: Path) -> None:
    (command,) = (line for line in COMMANDS if "my_patch:trust_early_sections" in line)
    words = shlex.split(command)[1:]
    result = run_example(tmp_path, "hotplug_model", *words)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "applied  my_patch:trust_early_sections: pfn_to_online_page() does not" in result.stdout
    assert re.search("violates (walkers_|refusals_leave_the_machine_alone)", result.stdout)


def test_marking_the_rest_is_not_enough(tmp_path: Path) -> None:
    trace = str(ROOT / "regressions" / "seed004-runs-past-cnt.json")
    own = ["--change", "my_marks:marks_the_rest"]
    result = run_example(tmp_path, "hotplug_model", "replay", trace, *own)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "breaks unused_vmemmap_is_freed" in result.stdout
    trace = str(ROOT / "regressions" / "seed004-unpopulated-unmarked.json")
    result = run_example(tmp_path, "hotplug_model", "replay", trace, *own)
    assert (result.returncode, "now holds" in result.stdout) == (1, True)


def test_the_user_is_audited(tmp_path: Path) -> None:
    assert len(EXAMPLES["my_user.py"].splitlines()) < 20
    (command,) = (line for line in COMMANDS if "--user my_user" in line)
    result = run_example(tmp_path, "hotplug_model", *shlex.split(command, comments=True)[1:])
    assert result.returncode == 1, result.stdout + result.stderr
    assert "my_driver_release (drivers/my_driver.c), dirtied: is wrong of q fs_dax, r generic" in (
        result.stdout
    )


# The roads not taken


def on_the_road(change: str, events: tuple[Op, ...], boot: str = "collision") -> Trace:
    """*events* on mainline with *change*."""
    layout = LAYOUTS[boot](GEOMETRIES["tiny"])
    return Trace(geometry="tiny", boot=layout, changes=(change,), events=events)


def device_comes_and_goes() -> tuple[Op, ...]:
    """A device in the first subsection of the hole that boot left in an online section."""
    geometry = GEOMETRIES["tiny"]
    hole = LAYOUTS["collision"](geometry).ram[-1][0].end_pfn
    device = PfnRange(hole, hole + geometry.pages_per_subsection)
    return (MemremapPages(0, (device,), "generic", 0, ()), MemunmapPages(0))


def zone_grows_in_vain() -> tuple[Op, ...]:
    """A block that a notifier keeps from going online."""
    block = GEOMETRIES["tiny"].section_pfns(2)
    return (AddMemory(0, block, 0), VetoMemoryNotifier(True, False), OnlineMemoryBlock(2, "online"))


@pytest.mark.parametrize(
    ("change", "events", "boot", "violated"),
    [
        (
            "seed001-taint-only", device_comes_and_goes(), "collision",
            "walkers_read_no_poisoned_page",
        ),
        ("seed001-taint-only", device_comes_and_goes(), "stale", "walkers_take_no_stale_page"),
        (
            "seed001-taint-only", zone_grows_in_vain(), "collision",
            "refusals_leave_the_machine_alone",
        ),
        (
            "seed001-slow-path", zone_grows_in_vain(), "collision",
            "refusals_leave_the_machine_alone",
        ),
    ],
)  # fmt: skip
def test_a_road_ends_where_the_readme_says(
    change: str, events: tuple[Op, ...], boot: str, violated: str
) -> None:
    trace = on_the_road(change, events, boot)
    index, violations = replay(trace)
    assert (index, broken(violations)) == (len(events) - 1, (violated,))
    assert replay(replace(trace, changes=())) == (None, [])
    section = TEXT.partition("## The roads not taken")[2].partition("\n## ")[0]
    assert f"`{violated}`" in section


@pytest.mark.parametrize("events", [device_comes_and_goes(), zone_grows_in_vain()])
def test_refusing_to_share_is_safe(events: tuple[Op, ...]) -> None:
    assert replay(on_the_road("seed001-no-sharing", events)) == (None, [])


def test_refusing_to_share_throws_memory_away() -> None:
    device, _ = device_comes_and_goes()
    alone = on_the_road("seed001-no-sharing", ())
    refusal = alone.machine().apply(device).refusal
    assert refusal is not None
    assert refusal.errno == errno.ENXIO
    assert replace(alone, changes=()).machine().apply(device).refusal is None
