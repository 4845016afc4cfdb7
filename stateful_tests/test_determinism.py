"""The seed decides: not the process, its hash function, language, directory or workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hotplug_model.__main__ import main
from hotplug_model.commands.fresh import TIMES, disagreement
from hotplug_model.walk import CHUNK
from stateful_tests.traces import COLLISION, collision

pytestmark = pytest.mark.unmeasured
ROOT = Path(__file__).parent.parent
WALK = ("walk", "--steps", "100", "--seed", "0")
CHECK = ("check", "--boot", "collision", "--profile", "tried", "--seed", "3")
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Without the latter two Python takes C for C.UTF-8."""
PROFILE = "[tool.hotplug-model.profiles.tried]\nexamples = 15\nsteps = 20\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a working directory of its own, and a profile that is soon done."""
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text(PROFILE)


def steps_of(
    *command: str, directory: str = ".", **environment: str
) -> tuple[list[str], dict[str, object]]:
    """The traces that a command wrote in a process of its own, and all that it counted."""
    Path(directory).mkdir(exist_ok=True)
    there = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    subprocess.run(
        [sys.executable, "-m", "hotplug_model", *command, "--json", "out.json"],
        env=there | environment, cwd=directory, capture_output=True, check=False,
    )  # fmt: skip
    result = json.loads(Path(directory, "out.json").read_text())
    traces = sorted(Path(directory).glob("hotplug-traces/*.json"))
    texts = [path.read_text().partition('"found"')[0] for path in traces]
    return texts, {name: result[name] for name in result if name != "seconds"}


@pytest.mark.parametrize("command", [WALK, CHECK], ids=["walk", "check"])
def test_a_seed_takes_the_same_steps_everywhere(command: tuple[str, ...]) -> None:
    here = steps_of(*command, PYTHONHASHSEED="1", **ASCII)
    there = steps_of(
        *command, directory="sub dir", PYTHONHASHSEED="77", LC_ALL="C.UTF-8", TZ="Asia/Tokyo"
    )
    assert here == there


def test_the_number_of_workers_makes_no_difference() -> None:
    walk = ("walk", "--steps", "900", "--seed", "0")
    alone = steps_of(*walk)
    assert steps_of(*walk, "--workers", "2") == alone
    examples = alone[1]["examples"]
    assert isinstance(examples, int)
    assert examples > 2 * CHUNK, "each worker has some, and one of them more"


@pytest.mark.parametrize("command", [WALK, CHECK], ids=["walk", "check"])
def test_a_seed_finds_the_same_trace_everywhere(command: tuple[str, ...]) -> None:
    command = (*command, "--change", COLLISION)
    here = steps_of(*command, PYTHONHASHSEED="1")
    there = steps_of(*command, directory="other", PYTHONHASHSEED="2", **ASCII)
    assert len(here[0]) == 1
    assert here[0] == there[0]


# A failure is replayed before it is called one


def test_fresh_processes_agree_with_a_trace_that_does_what_it_says() -> None:
    assert disagreement(collision()) is None


def test_fresh_processes_disagree_with_a_trace_that_does_not() -> None:
    said = disagreement(replace(collision(), violates=("present_pages_add_up",)))
    assert said is not None
    assert said.startswith(f"{TIMES} of {TIMES} fresh processes disagree: DIFFERS -: ")


MOODY = """
import os
from dataclasses import replace

def moody(rules):
    \"\"\"Walkers do not ask, in one process.\"\"\"
    asking = frozenset(["memory_failure"]) if os.getpid() == {pid} else frozenset()
    return replace(rules, asks_pfn_valid=asking)
"""


def test_a_failure_of_one_process_only_is_flaky(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("moods.py").write_text(MOODY.format(pid=os.getpid()))
    monkeypatch.syspath_prepend(".")
    assert main(["walk", "--change", "moods:moody", "--json", "out.json"]) == 3
    out = capsys.readouterr().out
    assert out.startswith("FLAKY: ")
    assert f"flaky: {TIMES} of {TIMES} fresh processes disagree: DIFFERS" in out
    assert "unconfirmed counterexample: hotplug-traces" in out
    result = json.loads(Path("out.json").read_text())
    assert (result["verdict"], result["violations"]) == ("flaky", [])
