"""``[tool.hotplug-model]``: found upwards, laid over what is built in."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from hotplug_model.machine import case_for
from hotplug_model.settings import PROFILES, Profile, profiles

ROOT = Path(__file__).parent.parent


def written(directory: Path, text: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "pyproject.toml").write_text(text)
    return directory


def test_without_a_file_the_profiles_are_those_built_in(tmp_path: Path) -> None:
    assert profiles(tmp_path) == PROFILES


def test_the_checkout_says_what_is_built_in_and_leaves_nothing_open() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)["tool"]["hotplug-model"]["profiles"]
    assert profiles(ROOT) == PROFILES
    assert table.keys() == PROFILES.keys()
    keys = {"examples", "steps", "test_examples", "test_steps"}
    assert all(keys <= given.keys() for given in table.values())


def test_the_nearest_file_with_the_table_counts(tmp_path: Path) -> None:
    written(tmp_path, "[tool.hotplug-model.profiles.ci]\nsteps = 7")
    written(tmp_path / "a", "[tool.other]\nx = 1")
    below = written(tmp_path / "a" / "b", "[project]\nname = 'b'")
    assert profiles(below)["ci"].steps == 7
    written(tmp_path / "a", "[tool.hotplug-model.profiles.ci]\nsteps = 8")
    assert profiles(below)["ci"].steps == 8


def test_what_a_file_leaves_open_is_as_built_in(tmp_path: Path) -> None:
    written(tmp_path, "[tool.hotplug-model.profiles.ci.floor]\npairs = 0.5")
    found = profiles(tmp_path)
    assert found["ci"].floor.pairs == 0.5
    assert found["ci"].floor.sometimes == PROFILES["ci"].floor.sometimes == 1
    assert found["ci"].examples == PROFILES["ci"].examples
    assert found["nightly"] == PROFILES["nightly"]


def test_a_new_profile_starts_from_the_defaults(tmp_path: Path) -> None:
    written(tmp_path, "[tool.hotplug-model.profiles.mine]\nexamples = 3")
    assert profiles(tmp_path)["mine"] == Profile(examples=3)


def test_no_machine_explains_though_hypothesis_would() -> None:
    assert Phase.explain in settings().phases
    assert Phase.explain not in vars(case_for())["settings"].phases


@pytest.mark.unmeasured
def test_coverage_looks_away_where_it_is_told_to() -> None:
    assert sys.gettrace() is None
