"""Replaying a counterexample in fresh processes, before it is called one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from hotplug_model.trace import Trace
from hotplug_model.trace_file import replay_options

TIMES = 3
"""Processes, each with hash functions of its own."""


def disagreement(trace: Trace, walkers: Sequence[str] = ()) -> str | None:
    """What a fresh process says of *trace* if it is not what the trace says; else None.

    It knows the user's *walkers*: what they alone break needs no event that names them.
    """
    processes = [start(trace, walkers, hash_seed) for hash_seed in range(1, TIMES + 1)]
    verdicts = [process.communicate(trace.dumps()) for process in processes]
    codes = [process.returncode for process in processes]
    for code, (out, err) in zip(codes, verdicts, strict=True):
        if code:
            nr = sum(map(bool, codes))
            said = " ".join((out or err).split())[:160]
            return f"{nr} of {TIMES} fresh processes disagree: {said}"
    return None


def start(trace: Trace, walkers: Sequence[str], hash_seed: int) -> subprocess.Popen[str]:
    """A process that reads *trace* and says whether it does what it says."""
    own = [word for name in walkers for word in ("--walker", name)]
    code = "import sys; from hotplug_model.__main__ import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, "replay", "-", *replay_options(trace), *own],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ
        | {
            "PYTHONHASHSEED": str(hash_seed),
            "PYTHONIOENCODING": "utf-8",
            # What the trace needs may have been found through the path of this process.
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        # Ctrl-C is this process's business.
        start_new_session=True,
    )
