"""Kill `check` and `explore` at random instants: what they had found is on disk, whole.

Half of the processes check a kernel with a bug: once a trace was there, there is one after
the kill, and all that there are replay. Half explore with a checkpoint: what the kill leaves
is how the file of a search that nobody kills begins, and the search that goes on from it
ends with the same file. Every second one is let live until there is something to lose.

    python benchmarks/killed.py [--times N] [--seed N]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hotplug_model.__main__ import main as hotplug_model
from hotplug_model.commands import check, explore
from hotplug_model.trace import Trace, replay

CHECK = ["check", "--change", "1f90a3477df3", "--boot", "collision", "--seed"]
EXPLORE = [
    "explore", "--boot", "collision", "--unusual", "0", "--depth", "full",
    "--ops", "add_memory,remove_memory,veto_memory_notifier", "--checkpoint", "search",
]  # fmt: skip


LOADED = (check, explore)
"""Before the processes are made: they are killed at work, not while they are loading."""


def started(args: list[str], directory: Path) -> int:
    """Run a command in a process of its own: its id."""
    child = os.fork()
    if child:
        return child
    os.chdir(directory)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        os._exit(hotplug_model(args))
    finally:
        os._exit(9)


def run(args: list[str], directory: Path) -> float:
    """Run a command to its end: how long that takes, in seconds."""
    began = time.monotonic()
    _, status = os.waitpid(started(args, directory), 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(f"{' '.join(args)} failed")
    return time.monotonic() - began


def run_and_kill(
    args: list[str], directory: Path, late: bool, seconds: float, there: Callable[[], bool]
) -> tuple[bool, bool]:
    """Kill a command after so many seconds, counted from when something is *there* if *late*:
    whether it was there before, and whether the command was still at work."""
    child = started(args, directory)
    while late and not there() and at_work(child):
        time.sleep(0.001)
    deadline, seen = time.monotonic() + seconds, there()
    while time.monotonic() < deadline:
        seen = seen or there()
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return seen, os.WIFSIGNALED(status)


def at_work(child: int) -> bool:
    """Whether a process goes on; it is still to be waited for if not."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def traces(directory: Path) -> list[Path]:
    """The trace files that are there; one that is being written has another name."""
    return list(directory.glob("hotplug-traces/*.json"))


def kill_check(seed: int, late: bool, seconds: float) -> bool:
    """Whether a trace was there before the kill; an error unless one is there after it."""
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        seen, hit = run_and_kill(
            [*CHECK, str(seed)], here, late, seconds, lambda: bool(traces(here))
        )
        left = traces(here)
        if seen and not left:
            raise SystemExit(f"check, seed {seed}, killed after {seconds:.3f} s: no trace is left")
        for path in left:
            trace = Trace.loads(path.read_text(encoding="utf-8"))
            if not trace.says(*replay(trace)):
                raise SystemExit(f"check, seed {seed}: {path.name} does not do what it says")
    return seen and hit


def kill_explore(whole: bytes, late: bool, seconds: float) -> bool:
    """Whether some of the search was on disk at the kill; an error if it is not as it was."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "search"
        _, hit = run_and_kill(
            EXPLORE, Path(name), late, seconds, lambda: path.exists() and path.stat().st_size > 0
        )
        left = path.read_bytes() if path.exists() else b""
        if not whole.startswith(left):
            raise SystemExit(f"explore, killed after {seconds:.3f} s: the checkpoint is damaged")
        run(EXPLORE, Path(name))
        if path.read_bytes() != whole:
            raise SystemExit(f"explore, killed after {seconds:.3f} s: it went on otherwise")
    return bool(left) and hit


def main(argv: list[str]) -> int:
    """Kill, look, and say how often there was something to lose."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=100, help="processes to kill")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    choose = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        check_seconds = run([*CHECK, "0"], Path(name))
        explore_seconds = run(EXPLORE, Path(name))
        whole = (Path(name) / "search").read_bytes()
    half = args.times // 2

    def when(nr: int, whole_seconds: float) -> tuple[bool, float]:
        """Whether to wait for something to lose, and how long then."""
        late = nr % 2 == 0
        return late, choose.uniform(0, whole_seconds / 2 if late else whole_seconds)

    found = [kill_check(nr, *when(nr, check_seconds)) for nr in range(half)]
    begun = [kill_explore(whole, *when(nr, explore_seconds)) for nr in range(half)]
    if not any(found) or not any(begun):
        raise SystemExit("nothing was there to lose: ask for more --times")
    print(f"check: killed {half} times, {sum(found)} times with a trace on disk; none was lost")
    print(f"explore: killed {half} times, {sum(begun)} times with a checkpoint; each went on")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
