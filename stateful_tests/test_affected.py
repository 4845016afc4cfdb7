"""Which release has which bug: what replays show, against what history says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotplug_model.__main__ import main
from hotplug_model.affected import (
    ASKED,
    DISAGREEMENTS,
    INTRODUCED,
    affected,
    expected,
    has,
    violated,
)
from hotplug_model.changes import CHANGES, RELEASES, KernelVariant
from hotplug_model.trace import Trace

README = Path(__file__).parent.parent / "README.md"
REGRESSIONS = Path(__file__).parent.parent / "regressions"
TRACES = [Trace.loads(path.read_text()) for path in sorted(REGRESSIONS.glob("*.json"))]
COLLISION = str(REGRESSIONS / "collision.json")


def cells(row: str) -> list[str]:
    return [cell.strip(" `") for cell in row.strip("|").split("|")]


def matrix() -> dict[str, set[str]]:
    """Change -> the releases that have it, from the README: test_catalogue replays them all."""
    text = README.read_text(encoding="utf-8")
    region = text.partition("<!-- begin affected -->")[2].partition("<!-- end affected -->")[0]
    heading, _, *rows = region.strip().splitlines()
    assert cells(heading)[1:-1] == list(ASKED)
    return {
        cells(row)[0]: {r for r, cell in zip(ASKED, cells(row)[1:-1], strict=True) if cell == "x"}
        for row in rows
    }


def test_every_bug_that_shipped_is_in_the_matrix() -> None:
    assert set(matrix()) == {change.name for change in CHANGES if change.shipped and change.breaks}


def test_replays_agree_with_history_but_for_what_is_listed() -> None:
    differing = {}
    for name, releases in matrix().items():
        wanted = {release for release in ASKED if expected(CHANGES[name], release)}
        if releases != wanted:
            differing[name] = releases ^ wanted
    assert differing == {name: set(releases) for name, (releases, _) in DISAGREEMENTS.items()}


def test_what_introduced_a_bug_is_older_than_its_fix() -> None:
    for name, release in INTRODUCED.items():
        since = CHANGES[name].since
        assert CHANGES[name].hides if since is None else release < since


@pytest.mark.parametrize("name", ["collision", "zone-span-does-not-shrink", "hole-in-zone"])
def test_a_release_with_the_fix_does_not_break_what_its_regression_shows(name: str) -> None:
    trace = Trace.loads((REGRESSIONS / f"{name}.json").read_text())
    change = CHANGES[trace.changes[-1]]
    fixed = next(n for n, at in RELEASES.items() if change.since and at >= change.since)
    before = list(RELEASES)[list(RELEASES).index(fixed) - 1]
    assert violated(trace, before) >= set(trace.violates)
    assert not violated(trace, fixed) & set(trace.violates)
    assert has(before, change, trace)
    assert not has(fixed, change, trace)


def test_a_trace_of_something_else_shows_no_bug() -> None:
    strict = [trace for trace in TRACES if not trace.changes]
    assert list(affected(strict)) == []


def test_before_subsections_device_memory_kept_away_from_sections_with_ram() -> None:
    rules = KernelVariant.named("5.2", ()).rules()
    assert rules.memremap_part_of_section == "pads"
    assert rules.memmap_freed_before_reset
    rules = KernelVariant.named("5.3", ()).rules()
    assert rules.memremap_part_of_section == "maps"
    assert not rules.memmap_freed_before_reset


# The command


def test_releases_prints_a_row_for_each_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["releases", COLLISION]) == 0
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["change", *ASKED]
    shown = dict(zip(ASKED, row.split()[1:], strict=True))
    assert [name for name, cell in shown.items() if cell == "x"] == [
        "5.3", "5.4", "5.6", "5.8", "5.10",
    ]  # fmt: skip


def test_releases_as_json_and_as_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["releases", COLLISION, "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert (said["change"], said["since"]) == ("1f90a3477df3", [5, 12])
    assert (said["releases"]["5.10"], said["releases"]["5.12"]) == (True, False)
    assert main(["releases", COLLISION, "--markdown"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("| `1f90a3477df3` | ")


def test_releases_looks_into_regressions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["releases"]) == 2
    assert "no traces" in capsys.readouterr().err
    (tmp_path / "regressions").mkdir()
    (tmp_path / "regressions" / "one.json").write_text(Path(COLLISION).read_text())
    assert main(["releases"]) == 0
    assert "1f90a3477df3" in capsys.readouterr().out


def test_releases_refuses_what_is_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["releases", "nowhere.json"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
