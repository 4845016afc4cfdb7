"""The benchmarks run. What they measure is nobody's business here: no test depends on time."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hotplug_model.changes import CHANGES, KernelVariant
from hotplug_model.invariants import INVARIANTS
from hotplug_model.walk import SeededChooser

pytestmark = pytest.mark.unmeasured

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SMALL = ("--pairs", "1", "--examples", "3", "--steps", "5")


def printed(script: str, *args: str) -> str:
    """What a script prints."""
    command = [sys.executable, str(BENCHMARKS / script), *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def throughput(*args: str) -> str:
    """What the script prints, with tiny numbers."""
    return printed("throughput.py", *SMALL, *args)


@pytest.mark.parametrize("races", [(), ("--races",)], ids=["alone", "at once"])
def test_it_prints_a_ratio_for_each_geometry(races: tuple[str, ...]) -> None:
    lines = throughput(*races).splitlines()
    headings = [line for line in lines if not line.startswith(" ")]
    assert [line.partition(":")[0] for line in headings] == ["tiny", "x86_64"]
    assert all(line.endswith(" times the empty machine") for line in headings)


def test_the_raw_numbers_give_the_ratio() -> None:
    geometries = json.loads(throughput("--json"))["geometries"]
    for figure in geometries.values():
        (pair,) = figure["pairs"]
        empty, whole = (
            pair[which]["cpu_seconds"] / pair[which]["steps"] for which in ("empty", "whole")
        )
        assert abs(figure["ratio"] - whole / empty) < 1e-9
        assert pair["empty"]["examples"] == pair["whole"]["examples"]


def test_what_a_race_leaves_out_lost_nothing_on_any_change() -> None:
    heading, *lines, total = (BENCHMARKS / "race_reduction.txt").read_text().splitlines()
    names = {line.split()[0] for line in lines}
    assert heading.split() == ["change", "schedules", "looks", "reduced", "violations"]
    assert names <= {change.name for change in CHANGES if change.breaks}
    assert {"5ec8e8ea8b77", "b1d5488a252d", "8df1d0e4a265"} <= names
    assert all(line.endswith(", the same") for line in lines)
    assert total.endswith(" 0 lost")


def test_that_comparison_runs() -> None:
    _, line, total = printed("race_reduction.py", "8df1d0e4a265").splitlines()
    assert line.split()[0] == "8df1d0e4a265"
    looks, reduced = map(int, line.split()[2:4])
    assert 0 < reduced < looks
    assert total.split()[1:3] == [str(looks), str(reduced)]


def test_minimal_traces_are_counted_by_what_they_violate() -> None:
    lines = printed("minimal.py", "feee6b298916", "--seeds", "2", "--steps", "2").splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if line[:1] == "|"]
    assert rows[0][1:-1] == [
        "change", "violates", "optimum", "seeds", "as short as the shortest", "identical",
    ]  # fmt: skip
    assert [row[1] for row in rows[2:]] == ["`feee6b298916`"] * (len(rows) - 2)
    assert sum(int(row[4]) for row in rows[2:]) == 2
    assert all(0 < int(row[5]) <= int(row[4]) for row in rows[2:])


def test_what_the_budget_does_not_prove_is_searched_on_request() -> None:
    one = ("minimal.py", "poison-counted-in-memmap", "--seeds", "1", "--steps", "1")
    assert "| at most 2 |" in printed(*one)
    assert "| 2       |" in printed(*one, "--prove", "1")


def test_the_page_of_minimal_traces_knows_the_changes() -> None:
    page = (BENCHMARKS.parent / "docs" / "minimal.md").read_text()
    tiny = {c.name for c in CHANGES if c.breaks and not c.races and c.geometry == "tiny"}
    _, _, measured = page.partition("## By change")
    named = {each for each in re.findall("`([^`]+)`", measured) if each not in INVARIANTS}
    assert named == tiny


def test_what_is_killed_has_left_what_it_had_found() -> None:
    check, explore = printed("killed.py", "--times", "6").splitlines()
    found = re.fullmatch(
        "check: killed 3 times, ([123]) times with a trace on disk; none was lost", check
    )
    begun = re.fullmatch(
        "explore: killed 3 times, ([123]) times with a checkpoint; each went on", explore
    )
    assert found, check
    assert begun, explore


def test_what_is_estimated_stands_beside_what_is_so() -> None:
    heading, one, two = printed("states.py", "--examples", "2").splitlines()
    assert heading.startswith("88 states: add_memory")
    assert one.split()[:2] == ["1", "examples:"]
    assert two.endswith(" in 20 others")


DETECTION = BENCHMARKS / "detection.py"


def test_what_is_asked_blindly_breaks_nothing_on_mainline() -> None:
    benchmark = runpy.run_path(str(DETECTION))
    request = replace(benchmark["request_for"]("1f90a3477df3", 0), variant=KernelVariant())
    blind = benchmark["Blind"](request, budget=2000)
    for example, layout in enumerate([*request.layouts] * 4):
        checker, choose = blind.boot(layout), SeededChooser(0, example)
        assert not any(blind.apply(checker, choose.index) for _ in range(40)), layout


def detection(*args: str) -> str:
    """What the other script prints, with tiny numbers."""
    command = [sys.executable, str(DETECTION), "--seeds", "1", *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_each_way_to_look_has_a_line() -> None:
    heading, *lines = detection("--budget", "20", "1f90a3477df3").splitlines()
    assert heading.split() == ["change", "way", "found", "steps", "seconds", "events"]
    assert [line.split()[:2] for line in lines] == [
        ["1f90a3477df3", way] for way in ("tool", "plain", "uniform")
    ]


def test_raw_numbers_of_a_search_in_vain_and_of_one_that_finds() -> None:
    vain = json.loads(detection("--budget", "40", "--json", "d33695b16a9f"))[0]
    assert (vain["found"], vain["steps"], vain["events"]) == (False, 40, None)
    found = json.loads(detection("--budget", "400", "--json", "1f90a3477df3"))[0]
    assert found["found"]
    assert 0 < found["events"] <= found["steps"] <= 400


def test_the_readme_and_its_page_have_what_was_measured() -> None:
    (kept,) = BENCHMARKS.glob("detection-*.json")
    root = BENCHMARKS.parent
    assert detection("--raw", str(kept), "--summary") in (root / "README.md").read_text()
    assert detection("--raw", str(kept)) in (root / "docs" / "detection.md").read_text()


def test_explore_counts_the_states_that_spin_counts() -> None:
    spin = runpy.run_path(str(BENCHMARKS / "spin.py"))
    states = [spin["explored"](nr_sections)[0] for nr_sections in (1, 2)]
    assert states == [16, 88]
    if shutil.which("spin"):
        assert [spin["spun"](nr_sections)[0] for nr_sections in (1, 2)] == states
