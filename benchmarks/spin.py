"""States a second of `explore` against SPIN, on models that count the same states.

    python benchmarks/spin.py [--sections N] [--spin-sections N]

Takes spin and a C compiler. `blocks.pml` knows nothing of what lies below a memory block and
judges nothing, so its rate says what the model and its invariants cost, not how well either
searches.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from hotplug_model.boot import LAYOUTS
from hotplug_model.explore import Expander, Exploration, Space
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.pfn import PfnRange
from hotplug_model.trace import Trace

OPS = (
    "add_memory", "remove_memory", "online_memory_block", "offline_memory_block",
    "veto_memory_notifier",
)  # fmt: skip
SMALL = GEOMETRIES["small"]


def space(nr_sections: int) -> Space:
    """As much RAM as usual, and so many sections behind it that may come and go."""
    boot = LAYOUTS["collision"](SMALL)
    size = SMALL.pages_per_section
    first = -(-boot.ram[-1][0].end_pfn // size)
    taken = (PfnRange(0, first * size),)
    free = tuple(PfnRange(nr * size, nr * size + size) for nr in range(first, first + nr_sections))
    machine = Trace(geometry="small", boot=replace(boot, window=taken + free))
    return Space(machines=(machine,), ops=OPS, unusual=0, symmetry=False)


def explored(nr_sections: int) -> tuple[int, float]:
    """All states, and the CPU seconds that they took."""
    searched = space(nr_sections)
    exploration = Exploration(space=searched)
    started = time.process_time()
    found = exploration.run(Expander(searched))
    if found is not None or not exploration.complete:
        raise SystemExit("mainline breaks something here, or there is no end of it")
    return len(exploration.visited), time.process_time() - started


def spun(nr_sections: int) -> tuple[int, float]:
    """What SPIN counts, and the CPU seconds of its search without those of the compiler."""
    model = Path(__file__).with_name("blocks.pml")
    with tempfile.TemporaryDirectory() as name:
        for command in (
            # -o2: what is known of the zone is state, though nothing here reads it.
            ["spin", "-a", "-o2", f"-DN={nr_sections}", str(model)],
            ["cc", "-O2", "-w", "-DSAFETY", "-o", "pan", "pan.c"],
        ):
            subprocess.run(command, cwd=name, check=True, capture_output=True)
        before = children_seconds()
        command = [f"{name}/pan", f"-m{1 << 22}"]
        said = subprocess.run(command, cwd=name, check=True, capture_output=True, text=True)
        seconds = children_seconds() - before
    counted = re.search(r"(\d+) states, stored", said.stdout)
    if counted is None or "errors: 0" not in said.stdout or "too small" in said.stdout:
        raise SystemExit(f"SPIN did not finish:\n{said.stdout}")
    return int(counted[1]), seconds


def children_seconds() -> float:
    """CPU seconds of all processes that have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def main(argv: list[str]) -> int:
    """Count with both, then divide their rates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sections", type=int, default=3, help="at most, for both")
    parser.add_argument("--spin-sections", type=int, default=9, help="for SPIN's rate")
    args = parser.parse_args(argv)
    rate = 0.0
    for nr in range(1, args.sections + 1):
        (states, seconds), (stored, _) = explored(nr), spun(nr)
        if states != stored:
            raise SystemExit(f"{nr} sections: explore counts {states} states, SPIN {stored}")
        rate = states / seconds
        print(f"{nr} sections: {states} states by both; explore {rate:.0f} a second")
    stored, seconds = spun(args.spin_sections)
    spin_rate = stored / seconds
    print(f"{args.spin_sections} sections: {stored} states; SPIN {spin_rate:.0f} a second")
    print(f"SPIN counts {spin_rate / rate:.0f} states while explore judges one")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
