"""What the checker costs: a step with every walker and invariant, against an empty one.

The same Hypothesis machine runs with its rule bodies empty (the floor: drawing and
bookkeeping) and with all that the checker does, in turns, in one process. CPU time a step
is compared within each pair; the median of the pairs' ratios is the figure.

    python benchmarks/throughput.py [--races] [--pairs N] [--examples N] [--steps N] [--json]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version

from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Outcome
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.machine import MemoryHotplug, Run, search
from hotplug_model.ops import Op

GEOMETRIES_MEASURED = ("tiny", "x86_64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One search."""

    examples: int
    steps: int
    cpu_seconds: float

    @property
    def us_per_step(self) -> float:
        """CPU time of a step, in microseconds."""
        return self.cpu_seconds / self.steps * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Both machines, one right after the other, drawing from the same seed."""

    empty: Measured
    whole: Measured

    @property
    def ratio(self) -> float:
        """How many times the empty machine's time the whole checker takes."""
        return self.whole.us_per_step / self.empty.us_per_step


def count_only(self: MemoryHotplug, op: Op) -> None:
    """The body of an empty rule: it counts the step, or there was nothing to divide by."""
    self.run.coverage.count(op, Outcome(None, [], []))


def measure(geometry: str, empty: bool, args: argparse.Namespace, seed: int) -> Measured:
    """Search mainline, which must hold, or the figure is worth nothing."""
    sizes = GEOMETRIES[geometry]
    run = Run(
        variant=KernelVariant(),
        geometry=geometry,
        layouts={name: make(sizes) for name, make in LAYOUTS.items()},
        races=args.races,
    )
    whole = MemoryHotplug.request
    if empty:
        MemoryHotplug.request = count_only  # type: ignore[method-assign]
    started = time.process_time()
    try:
        found = search(run, max_examples=args.examples, steps=args.steps, seed=seed)
    finally:
        seconds = time.process_time() - started
        MemoryHotplug.request = whole  # type: ignore[method-assign]
    if found is not None:
        raise SystemExit(f"mainline is violated at {geometry}, seed {seed}: {found}")
    return Measured(
        examples=run.coverage.examples, steps=run.coverage.steps, cpu_seconds=seconds
    )


def measure_pairs(geometry: str, args: argparse.Namespace) -> list[Pair]:
    """Several pairs, each with its own seed. The first one also warms up and is dropped."""
    pairs = []
    for seed in range(args.pairs + 1):
        empty = measure(geometry, True, args, seed)
        whole = measure(geometry, False, args, seed)
        pairs.append(Pair(empty=empty, whole=whole))
    return pairs[1:]


def summary(pairs: list[Pair]) -> dict[str, object]:
    """The figure of one geometry, with the numbers that it comes from."""
    return {
        "ratio": statistics.median(pair.ratio for pair in pairs),
        "us_per_step": {
            "empty": statistics.median(pair.empty.us_per_step for pair in pairs),
            "whole": statistics.median(pair.whole.us_per_step for pair in pairs),
        },
        "pairs": [asdict(pair) | {"ratio": pair.ratio} for pair in pairs],
    }


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--examples", type=int, default=400)
    parser.add_argument("--steps", type=int, default=40, help="at most, an example")
    parser.add_argument("--races", action="store_true", help="some operations at once")
    parser.add_argument("--json", action="store_true", help="raw numbers as JSON")
    args = parser.parse_args(argv)
    results = {name: measure_pairs(name, args) for name in GEOMETRIES_MEASURED}
    if args.json:
        about = {
            "python": platform.python_version(),
            "hypothesis": version("hypothesis"),
            "numpy": version("numpy"),
        }
        figures = {name: summary(pairs) for name, pairs in results.items()}
        print(json.dumps(about | {"geometries": figures}, indent=2))
        return 0
    for name, pairs in results.items():
        ratio = statistics.median(pair.ratio for pair in pairs)
        print(f"{name}: {ratio:.2f} times the empty machine")
        for pair in pairs:
            print(
                f"  empty {pair.empty.us_per_step:5.0f} us a step ({pair.empty.steps} steps), "
                f"whole {pair.whole.us_per_step:5.0f} us ({pair.whole.steps}): {pair.ratio:.2f}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
