"""What leaving out places that were passed before saves a race, and that it loses nothing.

For each change that breaks something, the last two operations of its shortest regression
trace, or the last one and one that can be drawn beside it, are interleaved with up to two
switches: once with the reduction, once without. What breaks must be the same.

    python benchmarks/race_reduction.py [CHANGE ...]  > benchmarks/race_reduction.txt
"""

from __future__ import annotations

import sys
from itertools import chain, islice
from pathlib import Path

from hotplug_model.changes import CHANGES
from hotplug_model.checker import Checker, Violation, carry_out
from hotplug_model.contenders import some
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.ops.interleave import Interleave
from hotplug_model.race import Broke, what
from hotplug_model.schedules import Schedules
from hotplug_model.trace import Trace

REGRESSIONS = Path(__file__).parent.parent / "regressions"
PARTNERS = ("memremap_pages", "add_memory", "pin_pages")
SWITCHES = 2


def shortest(name: str) -> Trace:
    """The regression trace of a change with the fewest events."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(REGRESSIONS.glob("*.json"))]
    traces = [trace for trace in map(Trace.loads, texts) if trace.changes[-1:] == (name,)]
    return min(traces, key=lambda trace: len(trace.events))


def start(trace: Trace) -> tuple[Kernel, tuple[Op, Op]]:
    """The machine before two operations, and these two."""
    kernel, (*before, last) = trace.machine().kernel, (None, *trace.events)
    pair = last.contexts if isinstance(last, Interleave) else trace.events[-2:]
    for event in trace.events[: len(before) - 1 if isinstance(last, Interleave) else -2]:
        carry_out(kernel, event)
    others = (op for name in PARTNERS for op in some(kernel, name) if op not in pair)
    first, second = islice(chain(pair, others), 2)
    return kernel, (first, second)


def raced(trace: Trace, reduced: bool) -> tuple[set[Broke], Schedules]:
    """What breaks in any schedule, and what it took."""
    kernel, ops = start(trace)
    schedules = Schedules(kernel, ops, set(), reduced=reduced)
    # What needs no switch is no race, and a schedule that waits at once is one of these.
    found = {what(v) for order in (ops, ops[::-1]) for v in one_by_one(kernel, order)}
    for nr in range(1, SWITCHES + 1):
        for _, violations in schedules.with_switches(nr):
            found |= set(map(what, violations))
    return found, schedules


def one_by_one(kernel: Kernel, ops: tuple[Op, ...]) -> list[Violation]:
    """What breaks without a switch."""
    checker = Checker(kernel.snapshot())
    outcomes = [checker.apply(op) for op in ops]
    return [v for each in outcomes for v in (*each.violations, *each.known)]


def main(names: list[str]) -> int:
    """A line a change; 1 if the reduction lost something."""
    print(f"{'change':28} {'schedules':>9} {'looks':>7} {'reduced':>7}  violations")
    lost, looks = 0, [0, 0]
    for name in names or [change.name for change in CHANGES if change.breaks]:
        trace = shortest(name)
        (all_found, whole), (found, less) = raced(trace, False), raced(trace, True)
        same = found == all_found and whole.nr_tried == less.nr_tried
        lost += not same
        looks = [looks[0] + whole.nr_looks, looks[1] + less.nr_looks]
        verdict = f"{len(found)}, the same" if same else f"{len(found)} of {len(all_found)}"
        tried = f"{whole.nr_tried:9} {whole.nr_looks:7} {less.nr_looks:7}"
        print(f"{name:28} {tried}  {verdict}", flush=True)
    print(f"{'all':28} {'':9} {looks[0]:7} {looks[1]:7}  {lost} lost")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
