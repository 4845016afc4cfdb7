"""The benchmark runs. What it measures is nobody's business here: no test depends on time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "throughput.py"
SMALL = ("--pairs", "1", "--examples", "3", "--steps", "5")


def throughput(*args: str) -> str:
    """What the script prints, with tiny numbers."""
    command = [sys.executable, str(SCRIPT), *SMALL, *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_it_prints_a_ratio_for_each_geometry() -> None:
    lines = throughput().splitlines()
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
