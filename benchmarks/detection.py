"""How soon known bugs are found: by this tool, by a plain Hypothesis machine, by blind chance.

One model, the same invariants, one bug at a time. What differs is how operations come about:

tool      the walk of ``hotplug-model walk``: requests are drawn from what the machine holds
plain     a Hypothesis machine as one writes it first: arguments from fixed lists, a rule
          that is not applicable does nothing
uniform   the same blind requests, drawn by a seeded generator

What is found is not shrunk. Bugs that take two operations at once are left out: no way has
two in flight.

    python benchmarks/detection.py [--seeds N] [--budget N] [--workers N] [--json] [CHANGE ...]
    python benchmarks/detection.py --raw benchmarks/detection-2026-11-30.json [--summary]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, settings, stateful
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from hotplug_model.changes import CHANGES
from hotplug_model.checker import Checker
from hotplug_model.flags import MemoryClass
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.hunt import request_for
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.ops.memory_block import OfflineMemoryBlock, OnlineMemoryBlock
from hotplug_model.ops.memory_hotplug import AddMemory, OfflineAndRemoveMemory, RemoveMemory
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.pfn import PfnRange
from hotplug_model.walk import RandomWalk, SeededChooser, WalkRequest

STEPS = 40
"""Operations of an example."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One search."""

    change: str
    way: str
    seed: int
    found: bool
    steps: int
    """Operations until something broke, or that were tried in vain."""
    cpu_seconds: float
    """Until then."""
    events: int | None
    """Operations since the last boot."""


class Enough(KeyboardInterrupt):
    """The budget is used up. Hypothesis lets interrupts through."""


@dataclass(slots=True)
class Blind:
    """Requests that know the sizes of a machine and nothing of its state."""

    request: WalkRequest
    budget: int
    steps: int = 0
    first: int | None = None
    """Operations until something broke."""
    seconds: float = 0.0
    """CPU time at that moment."""
    sound: set[bytes] = field(default_factory=set)
    """States that were judged, as the tool remembers them, too."""

    def boot(self, layout: str) -> Checker:
        """A machine right after boot."""
        return Checker(self.request.booted(layout).machine().kernel, sound=self.sound)

    def op(self, kernel: Kernel, index: Callable[[int], int]) -> Op | None:
        """A request, None if it makes no sense."""
        geometry = GEOMETRIES[self.request.geometry]
        size, every = geometry.pages_per_subsection, geometry.all_pfns.end_pfn
        start = index(every // size) * size
        pfns = PfnRange(start, start + (1 + index(8)) * size)
        number, kind = index(4), index(7)
        if kind == 0:
            return AddMemory(index(2), pfns, 0)
        if kind in (1, 2) and was_added_for_a_device(kernel, pfns):
            # Nobody removes that as RAM; mainline does not refuse it.
            return None
        if kind == 1:
            return RemoveMemory(pfns)
        if kind == 2:
            return OfflineAndRemoveMemory(pfns, unmovable=False)
        if kind == 3:
            how = ("online", "online_kernel", "online_movable")[index(3)]
            return OnlineMemoryBlock(number, how) if number in kernel.blocks else None
        if kind == 4:
            return OfflineMemoryBlock(number, unmovable=False) if number in kernel.blocks else None
        if kind == 5:
            free = number not in kernel.pgmaps
            return MemremapPages(number, (pfns,), "generic", 0, ()) if free else None
        return MemunmapPages(number) if number in kernel.pgmaps else None

    def apply(self, checker: Checker, index: Callable[[int], int]) -> bool:
        """Try one request; whether it broke something."""
        if self.first is None and self.steps >= self.budget:
            raise Enough
        op = self.op(checker.kernel, index)
        self.steps += 1
        if op is None or not checker.apply(op).violations:
            return False
        if self.first is None:
            self.first, self.seconds = self.steps, time.process_time()
        return True


def was_added_for_a_device(kernel: Kernel, pfns: PfnRange) -> bool:
    """Whether some of *pfns* was, be it that the device never came to be."""
    inside = PfnRange(pfns.start_pfn, min(pfns.end_pfn, kernel.geometry.all_pfns.end_pfn))
    memory = kernel.pfns.within(inside, "memory")
    return bool((memory > MemoryClass.SYSTEM_RAM).any())


def tool(name: str, seed: int, budget: int) -> Found:
    """The walk."""
    request = request_for(name, seed)
    walking = RandomWalk(request=request)
    started = time.process_time()
    trace = walking.walk(range(-(-budget // STEPS)))
    return Found(
        change=name, way="tool", seed=seed, found=trace is not None, steps=walking.coverage.steps,
        cpu_seconds=time.process_time() - started, events=len(trace.events) if trace else None,
    )  # fmt: skip


def uniform(name: str, seed: int, budget: int) -> Found:
    """Blind requests from a seeded generator."""
    blind = Blind(request_for(name, seed), budget)
    layouts = list(blind.request.layouts)
    started, example, length = time.process_time(), 0, None
    while length is None and blind.steps < budget:
        choose = SeededChooser(seed, example)
        example += 1
        checker = blind.boot(layouts[choose.index(len(layouts))])
        for step in range(min(STEPS, budget - blind.steps)):
            if blind.apply(checker, choose.index):
                length = step + 1
                break
    return Found(
        change=name, way="uniform", seed=seed, found=length is not None, steps=blind.steps,
        cpu_seconds=time.process_time() - started, events=length,
    )  # fmt: skip


def plain(name: str, seed: int, budget: int) -> Found:
    """A Hypothesis machine with one rule that asks blindly."""
    blind = Blind(request_for(name, seed), budget)
    lengths: list[int] = []

    class Machine(RuleBasedStateMachine):
        @stateful.initialize(layout=st.sampled_from(list(blind.request.layouts)))
        def boot(self, layout: str) -> None:
            self.checker, self.nr_steps = blind.boot(layout), 0

        @stateful.rule(numbers=st.lists(st.integers(0, 63), min_size=6, max_size=6))
        def ask(self, numbers: list[int]) -> None:
            rest = iter(numbers)
            self.nr_steps += 1
            if blind.apply(self.checker, lambda n: next(rest) % n):
                lengths.append(self.nr_steps)
                raise AssertionError

    started = time.process_time()
    configuration = settings(
        max_examples=-(-budget // STEPS) * 10, stateful_step_count=STEPS, database=None,
        deadline=None, print_blob=False, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck), verbosity=Verbosity.quiet,
    )  # fmt: skip
    found = False
    try:
        run_state_machine_as_test(hypothesis.seed(seed)(Machine), settings=configuration)
    except AssertionError:
        found = True
    except Enough:
        found = False
    return Found(
        change=name, way="plain", seed=seed, found=found, steps=blind.first or blind.steps,
        cpu_seconds=(blind.seconds or time.process_time()) - started,
        events=lengths[0] if lengths else None,
    )  # fmt: skip


WAYS = {"tool": tool, "plain": plain, "uniform": uniform}


def table(found: list[Found]) -> list[str]:
    """A line for each bug and way: medians over seeds."""
    lines = [f"{'change':<30} {'way':<8} {'found':>8} {'steps':>7} {'seconds':>8} {'events':>7}"]
    for change, way in dict.fromkeys((each.change, each.way) for each in found):
        same = [each for each in found if (each.change, each.way) == (change, way)]
        hits = [each for each in same if each.found]
        events = statistics.median(each.events or 0 for each in hits) if hits else 0
        lines.append(
            f"{change:<30} {way:<8} {len(hits):>3} of {len(same):<2} "
            f"{statistics.median(each.steps for each in same):>6.0f} "
            f"{statistics.median(each.cpu_seconds for each in same):>8.2f} {events:>7.0f}"
        )
    return lines


def summary(found: list[Found]) -> list[str]:
    """A line for each way: bugs that it found on every seed, and on some; what a search took."""
    lines = [f"{'way':<8} {'on every seed':>13} {'on some seed':>13} {'steps':>7} {'seconds':>8}"]
    bugs = list(dict.fromkeys(each.change for each in found))
    for way in dict.fromkeys(each.way for each in found):
        mine = [each for each in found if each.way == way]
        hits = {bug: [each.found for each in mine if each.change == bug] for bug in bugs}
        every, some = (sum(map(of, hits.values())) for of in (all, any))
        lines.append(
            f"{way:<8} {every:>6} of {len(bugs):<3} {some:>6} of {len(bugs):<3} "
            f"{statistics.median(each.steps for each in mine):>7.0f} "
            f"{statistics.median(each.cpu_seconds for each in mine):>8.2f}"
        )
    return lines


def searched(job: tuple[str, str, int, int]) -> Found:
    """One search; says on stderr that it is over."""
    name, way, seed, budget = job
    found = WAYS[way](name, seed, budget)
    print(name, way, seed, found.steps, file=sys.stderr, flush=True)
    return found


def main(argv: list[str]) -> int:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description="How soon known bugs are found, in three ways.")
    parser.add_argument("--seeds", type=int, default=10, metavar="N")
    parser.add_argument("--budget", type=int, default=2000, metavar="N", help="operations")
    parser.add_argument("--workers", type=int, default=1, metavar="N")
    parser.add_argument("--json", action="store_true", help="the raw numbers")
    parser.add_argument("--summary", action="store_true", help="a line for each way only")
    parser.add_argument("--raw", metavar="FILE", help="print what was measured before instead")
    parser.add_argument("changes", nargs="*", metavar="CHANGE", help="default: all that can be")
    args = parser.parse_args(argv)
    if args.raw:
        with open(args.raw, encoding="utf-8") as file:
            found = [Found(**each) for each in json.load(file)]
    else:
        alone = [change.name for change in CHANGES if change.breaks and not change.races]
        names = [CHANGES[name].name for name in args.changes or alone]
        jobs = [(n, way, seed, args.budget) for n in names for way in WAYS
                for seed in range(args.seeds)]  # fmt: skip
        with ProcessPoolExecutor(args.workers) as pool:
            found = list(pool.map(searched, jobs))
    if args.json:
        print(json.dumps([asdict(each) for each in found]))
    else:
        print("\n".join((summary if args.summary else table)(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
