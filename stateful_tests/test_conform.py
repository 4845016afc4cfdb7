"""The model agrees with recorded real kernels, and would notice if it did not."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hotplug_model.__main__ import main
from hotplug_model.changes import KernelVariant
from hotplug_model.errors import UserError
from hotplug_model.recorded import conform
from hotplug_model.recorded.incomparable import INCOMPARABLE
from hotplug_model.recorded.kernels import KERNELS, kernel_of
from hotplug_model.recorded.recording import load

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.json.gz"))
F_ERRORS = next(path for path in RECORDINGS if path.name == "f_errors_6.1.json.gz")
FUZZ = next(path for path in RECORDINGS if path.name == "fuzz_6.1_1.json.gz")
BOOT_ONLY = {"nosec", "flags", "ref", "mapcount", "page_pgmap"}


def raw(path: Path) -> dict[str, Any]:
    """A recording as plain JSON."""
    loaded: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return loaded


def written(tmp_path: Path, recording: object) -> Path:
    """A file with *recording* in it."""
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(recording))
    return path


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.removesuffix(".json.gz"))
def test_the_model_agrees_with_a_recorded_kernel(path: Path) -> None:
    result = conform(path)
    assert result.mismatches == 0, result.first
    assert result.comparisons > result.steps


def test_every_required_scenario_is_recorded_on_all_four_kernels() -> None:
    names = {path.name for path in RECORDINGS}
    scenarios = (
        "a_dimm", "a2_dimm_eject", "b_e820_collision", "f_errors", "h3", "h6", "h10", "h12",
    )  # fmt: skip
    kernels = ("5.10", "6.1", "6.12", "6.1debug")
    assert {f"{s}_{k}.json.gz" for s in scenarios for k in kernels} <= names
    assert sum(name.startswith("fuzz_") for name in names) == 7


@pytest.mark.parametrize(
    ("recorded", "modelled"), [("5.10", "6.12"), ("6.1", "5.10"), ("6.12", "6.1"), ("6.1", "6.12")]
)
def test_the_rules_of_another_release_do_not_agree(
    recorded: str, modelled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KERNELS, recorded, KernelVariant.named(modelled, ()))
    paths = [path for path in RECORDINGS if path.name.endswith(f"_{recorded}.json.gz")]
    assert sum(conform(path).mismatches for path in paths) > 0


def test_each_recorded_kernel_is_a_release_and_its_backports() -> None:
    assert {key: kernel_of(key).release for key in KERNELS} == {
        "5.10": "5.10", "6.1": "6.1", "6.12": "6.12", "hp": "6.1",
    }  # fmt: skip


# Nothing is left out silently


def test_every_column_is_compared_or_listed_with_its_reason(tmp_path: Path) -> None:
    columns = raw(F_ERRORS)["run_columns"][2:]
    listed = {name.removeprefix("runs.") for name in INCOMPARABLE if name.startswith("runs.")}
    compared = set(columns) - listed
    assert listed == BOOT_ONLY
    for name in sorted(compared):
        recording = raw(F_ERRORS)
        row = recording["steps"][11]["state"]["ranges"]["A"]["runs"][2]
        row[recording["run_columns"].index(name)] += 1
        assert conform(written(tmp_path, recording)).mismatches == 1, name


def _zone(state: dict[str, Any]) -> None:
    state["zones"][1]["present"] += 1


def _span(state: dict[str, Any]) -> None:
    state["zones"][0]["spanned"] += 1


def _start(state: dict[str, Any]) -> None:
    state["zones"][2]["start"] += 1


def _block_state(state: dict[str, Any]) -> None:
    state["blocks"][0][1] = "offline"


def _valid_zones(state: dict[str, Any]) -> None:
    state["blocks"][1][2] = "Movable"


def _block_gone(state: dict[str, Any]) -> None:
    del state["blocks"][0]


def _flags(state: dict[str, Any]) -> None:
    state["ranges"]["A"]["sections"][0][1] = "1"


def _bitmap(state: dict[str, Any]) -> None:
    state["ranges"]["A"]["sections"][0][3] = "00000000000000ff"


def _usage(state: dict[str, Any]) -> None:
    state["ranges"]["A"]["sections"][0][2] = 0


def _notifier(state: dict[str, Any]) -> None:
    state["notifier_events"].append([1, 0, 1])


def _iomem(state: dict[str, Any]) -> None:
    state["iomem"].append("200000000-207ffffff : System RAM")


@pytest.mark.parametrize(
    "tamper",
    [
        _zone, _span, _start, _block_state, _valid_zones, _block_gone, _flags, _bitmap, _usage,
        _notifier, _iomem,
    ],
)  # fmt: skip
def test_one_changed_observation_is_one_step_s_mismatch(
    tamper: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    recording = raw(F_ERRORS)
    tamper(recording["steps"][6]["state"])
    result = conform(written(tmp_path, recording))
    assert [bool(found) for found in result.per_step].count(True) == 1
    assert result.first.startswith("step 6: mod:add")


def test_a_changed_errno_is_noticed(tmp_path: Path) -> None:
    for index, step in enumerate(raw(F_ERRORS)["steps"]):
        recording = raw(F_ERRORS)
        if step["errno"] in (None, 16) or "pin" in step["op"] or step["op"] == "boot":
            continue
        recording["steps"][index]["errno"] = 99
        assert conform(written(tmp_path, recording)).mismatches == 1, step["op"]


def test_a_crash_that_the_model_does_not_account_for_is_a_mismatch(tmp_path: Path) -> None:
    recording = raw(F_ERRORS)
    recording["steps"] = recording["steps"][:7]
    recording["steps"][6]["errno"] = "CRASH"
    del recording["steps"][6]["state"]
    assert conform(written(tmp_path, recording)).mismatches == 1


def test_a_sampled_window_is_compared_at_every_sample(tmp_path: Path) -> None:
    recording = raw(FUZZ)
    for rows in recording["steps"][5]["runs"].values():
        rows[0][3] ^= 1
    assert conform(written(tmp_path, recording)).mismatches >= 2


# Damaged files


@pytest.mark.parametrize(
    "recording",
    [
        [], {}, {"kernel_key": "6.1"}, {"kernel_key": "6.1", "steps": []},
        {"kernel_key": "9.9", "layout": {}}, {"kernel_key": "6.1", "layout": {"mem": "x"}},
    ],
)  # fmt: skip
def test_what_is_no_recording_is_one_line(recording: object, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        conform(written(tmp_path, recording))
    assert "\n" not in str(refused.value)


def test_an_unknown_step_or_kernel_is_one_line(tmp_path: Path) -> None:
    recording = raw(F_ERRORS)
    for change in ({"op": "qmp:unheard-of"}, {"op": "mod:x", "args": {"cmd": "x 1"}}):
        changed = copy.deepcopy(recording)
        changed["steps"][3] |= change
        with pytest.raises(UserError, match="no translation"):
            conform(written(tmp_path, changed))
    with pytest.raises(UserError, match="recorded kernel"):
        conform(written(tmp_path, recording | {"kernel_key": "6.2"}))


def test_200_damaged_recordings_never_raise_anything_else(tmp_path: Path) -> None:
    text = gzip.decompress(FUZZ.read_bytes())
    chance = random.Random(7)
    path = tmp_path / "damaged.json"
    for _ in range(200):
        damaged = bytearray(text[: chance.randrange(len(text))] if chance.random() < 0.3 else text)
        for _ in range(chance.randrange(1, 9)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(32, 127)
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(UserError):
            conform(path)


def test_a_cut_gzip_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "cut.json.gz"
    path.write_bytes(FUZZ.read_bytes()[:300])
    with pytest.raises(UserError, match="damaged"):
        load(path)


# The command


def test_conform_prints_a_line_a_file_and_the_total(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", str(FUZZ), str(F_ERRORS)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("fuzz_6.1_1.json.gz: v6.1: 50 steps")
    assert lines[2].endswith("0 mismatches")


def test_conform_shows_both_sides_of_the_first_divergence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = raw(F_ERRORS)
    recording["steps"][6]["state"]["zones"][0]["present"] += 1
    path = str(written(tmp_path, recording))
    assert main(["conform", path]) == 1
    assert "present at node 0 : recorded 255903, model 255902" in capsys.readouterr().out
    assert main(["conform", path, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["mismatches"] == 1
