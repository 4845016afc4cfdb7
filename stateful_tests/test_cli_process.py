"""The command line as a process: imports, signals, pipes, exit codes."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hotplug_model.workers import pool_of
from stateful_tests.traces import collision


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a working directory of its own."""
    monkeypatch.chdir(tmp_path)


def python(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """``python ...`` in a process of its own."""
    command = [sys.executable, *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def command(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """``hotplug-model ...`` in a process of its own."""
    return python("-m", "hotplug_model", *args, **options)


@pytest.mark.parametrize("args", [["--help"], ["check", "--help"], ["list", "opps"]])
def test_help_and_mistakes_import_nothing_heavy(args: list[str]) -> None:
    result = python("-X", "importtime", "-m", "hotplug_model", *args)
    imported = {row.rpartition("|")[2].strip() for row in result.stderr.splitlines()}
    assert "hotplug_model.cli" in imported
    assert not imported & {"hypothesis", "rich", "numpy"}


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import hotplug_model, sys; print({'hypothesis', 'rich', 'numpy'} & set(sys.modules))"
    assert python("-c", code).stdout == "set()\n"


@pytest.mark.parametrize("text", ["[" * 900_000, '{"a":' * 900, collision().dumps()[:-40], "\0"])
def test_a_damaged_file_gets_one_line_in_a_process_of_its_own(text: str) -> None:
    Path("t.json").write_text(text)
    result = command("replay", "t.json")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1


def test_replay_reads_stdin() -> None:
    result = command("replay", "-", input=collision().dumps())
    assert result.returncode == 0
    assert result.stdout.startswith("ok -: breaks ")


START = """
import signal, sys
# Who runs the tests in the background has SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
from hotplug_model.__main__ import main
print(flush=True)
sys.exit(main())
"""


def interrupted(arguments: list[str], seconds: float, times: int = 1) -> tuple[int, str]:
    """Exit code and output of a command that gets Ctrl-C a while after it has started, and
    perhaps once more."""
    process = subprocess.Popen(
        [sys.executable, "-c", START, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(seconds)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, out + err


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.5])
def test_ctrl_c_ends_a_check_with_130_and_no_traceback(seconds: float) -> None:
    arguments = ["check", "--geometry", "x86_64", "--boot", "two-nodes", "--profile", "nightly"]
    code, printed = interrupted(arguments, seconds)
    assert code == 130, printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(("command", "times"), [("explore", 1), ("walk", 2), ("mutate", 2)])
def test_ctrl_c_ends_processes_that_work_for_it_however_often(
    command: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed = interrupted([command, "--workers", "2"], 3.0, times)
    assert code == 130, printed
    assert "Traceback" not in printed


def test_a_reader_who_leaves_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "hotplug_model", "list", "walkers", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() in (0, 141)


def test_a_full_stdout_gets_one_line() -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "hotplug_model", "list", "ops"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert result.returncode == 3
    assert result.stderr == "hotplug-model: cannot go on: [Errno 28] No space left on device\n"


def test_a_pool_ends_its_own_processes_only() -> None:
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    try:
        pool = pool_of(1)
        busy = pool.submit(time.sleep, 60)
        pool.end()
        assert busy.done()
        assert other.is_alive()
    finally:
        other.kill()
