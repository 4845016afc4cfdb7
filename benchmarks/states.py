"""What a run says of the states that it has not seen, against all that there are.

`check` and `walk` count distinct states, and estimate the chance that the next step leads to
a new one. Here a walk draws what `explore` tries, on a machine of which `explore` has counted
every state, so that both can be compared with the truth.

    python benchmarks/states.py [--examples N] [--seed N]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import islice

from hotplug_model.boot import LAYOUTS
from hotplug_model.checker import Checker, carry_out
from hotplug_model.explore import Expander, Exploration, Space
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.ops.every import every_op, kinds_named
from hotplug_model.sightings import Sightings
from hotplug_model.trace import Trace
from hotplug_model.walk import SeededChooser

OPS = (
    "add_memory", "remove_memory", "online_memory_block", "offline_memory_block",
    "veto_memory_notifier",
)  # fmt: skip
MACHINE = Trace(geometry="tiny", boot=LAYOUTS["collision"](GEOMETRIES["tiny"]))
SPACE = Space(machines=(MACHINE,), ops=OPS, unusual=0, symmetry=False)
EXAMPLE_STEPS = 40
AHEAD = 20
"""Examples of another walk that the estimate is held against."""


def every_state() -> set[int]:
    """The number of every state of the machine, as :attr:`Checker.state` has it."""
    expander = Expander(SPACE)
    exploration = Exploration(space=SPACE)
    if exploration.run(expander) is not None or not exploration.complete:
        raise SystemExit("mainline breaks something here, or there is no end of it")
    visited = exploration.visited
    return {Checker(expander.state(visited.path(nr))).now() for nr in range(len(visited))}


def walked(seed: int) -> Iterator[set[int]]:
    """The states of each example of an endless walk."""
    kinds = kinds_named(OPS)
    choose = SeededChooser(seed, 0)
    while True:
        checker = MACHINE.machine()
        states = {checker.now()}
        for _ in range(EXAMPLE_STEPS):
            ops = list(every_op(checker.kernel, kinds, 0))
            carry_out(checker.kernel, ops[choose.index(len(ops))])
            states.add(checker.now())
        yield states


def main(argv: list[str]) -> int:
    """Explore, walk, and print what the walk says beside what is so."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    every = every_state()
    seen = Sightings()
    examples, ahead = walked(args.seed), walked(args.seed + 1)
    print(f"{len(every)} states: {', '.join(OPS)} on collision at tiny, no unusual choice")
    nr = 1
    while nr <= args.examples:
        for states in islice(examples, nr - nr // 2):
            for state in states:
                seen.see(state)
        if not set(seen.counts) <= every:
            raise SystemExit("the walk has seen a state that explore has not")
        others = [state for states in islice(ahead, AHEAD) for state in states]
        new = sum(state not in seen.counts for state in others) / len(others)
        print(
            f"{nr:>5} examples: {seen.distinct} of {len(every)} states; of what the next one "
            f"comes to {seen.unseen:.3f} is new by estimate, {new:.3f} in {AHEAD} others"
        )
        nr *= 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
