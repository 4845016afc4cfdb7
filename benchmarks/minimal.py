"""How short and how alike counterexamples of one bug come out, and what that costs.

For each change and each seed a walk on mainline with that change goes on for so many steps,
passing over every operation that would break something, until it may fail; then it fails.
What is found is minimised as `check` does it. All that break the same, on any boot layout,
should come out the same. Where no budget was large enough to prove the shortest of them to be as
short as possible, ``--prove`` looks for anything shorter on its boot layout without one.

    python benchmarks/minimal.py [CHANGE ...] [--seeds N] [--steps N] [--prove N] [--seconds S]
        [--workers N]
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

from hotplug_model.boot import LAYOUTS, find_layout
from hotplug_model.bug import bug_of
from hotplug_model.certify import MINIMAL, SHORTEST, certify
from hotplug_model.changes import CHANGES, KernelVariant
from hotplug_model.explore.shorter import Shorter
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.markdown import Row, Table, code, markdown
from hotplug_model.ops import Op, drawn_ops, ops_on_request
from hotplug_model.ops.every import kinds_named
from hotplug_model.suspicion import Suspicion
from hotplug_model.together import draw_one
from hotplug_model.trace import Trace, broken, replay
from hotplug_model.walk import SeededChooser, WalkRequest
from hotplug_model.words import counted

PATIENCE = 400
"""Operations to draw beyond the steps at most."""
ENDLESS = 1 << 62
"""More operations than any search tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One counterexample, minimised."""

    violates: tuple[str, ...]
    events: int
    said: str
    text: str
    """The whole trace, but for how it was found."""
    cpu_seconds: float
    additions: float
    """Million numbers that are added in the same time, on the same machine just then."""


def failure(change: str, seed: int, nr_steps: int) -> Trace | None:
    """A counterexample of *nr_steps* operations or more; None if the walk has none."""
    kind = CHANGES[change]
    sizes = GEOMETRIES[kind.geometry]
    request = WalkRequest(
        variant=KernelVariant.named(None, (*kind.needs, change)),
        geometry=kind.geometry,
        layouts={name: find_layout(name)(sizes) for name in kind.boots or LAYOUTS.names()},
    )
    choose = SeededChooser(seed, 0)
    booted = request.booted(list(request.layouts)[choose.index(len(request.layouts))])
    checker = booted.machine()
    if found := checker.boot():
        return replace(booted, violates=broken(found))
    events: list[Op] = []
    kinds = [*drawn_ops().values(), *ops_on_request().values()]
    for _ in range(nr_steps + PATIENCE):
        op = draw_one(checker.kernel, kinds, choose, kind.faults)
        before = checker.kernel.snapshot()
        if found := checker.apply(op).violations:
            if len(events) >= nr_steps - 1:
                return replace(booted, events=(*events, op), violates=broken(found))
            checker.kernel = before
        else:
            events.append(op)
    return None


def sample(trace: Trace) -> Sample:
    """Minimise *trace* and look at what comes of it."""
    names = CHANGES[trace.changes[-1]].boots or LAYOUTS.names()
    boots = [find_layout(name)(GEOMETRIES[trace.geometry]) for name in names]
    before = yardstick()
    started = time.process_time()
    minimal = certify(trace, boots)
    seconds = time.process_time() - started
    additions = 2 * seconds / (before + yardstick())
    if bug_of(replay(minimal)[1]) != bug_of(replay(trace)[1]):
        raise SystemExit(f"{trace.changes}: minimised to another bug")
    return Sample(
        violates=minimal.violates,
        events=len(minimal.events),
        said=str(minimal.found[MINIMAL]),
        text=replace(minimal, found={}).dumps(),
        cpu_seconds=seconds,
        additions=additions,
    )


def sampled(job: tuple[str, int, int]) -> Sample | None:
    """A counterexample of a change, of a seed and so many steps, minimised; None if none was
    found. Says on stderr that it is over."""
    trace = failure(*job)
    found = sample(trace) if trace is not None else None
    print(*job, found.events if found else "nothing found", file=sys.stderr, flush=True)
    return found


@dataclass(frozen=True, slots=True)
class Alike:
    """What is minimal of one change and violates the same; the shortest first."""

    change: str
    samples: list[Sample]


def alike(change: str, samples: list[Sample]) -> Iterator[Alike]:
    """What violates the same, for each set of invariants that a change breaks."""
    for violates in sorted({each.violates for each in samples}):
        same = [each for each in samples if each.violates == violates]
        # As long and proven: the proof stands for all.
        yield Alike(change, sorted(same, key=lambda s: (s.events, s.said != SHORTEST, s.text)))


def optimum(row: Alike, deepest: int) -> tuple[int, bool]:
    """The length of the shortest trace, and whether that is proven: where a shorter one had
    *deepest* operations or fewer, it is found or ruled out."""
    shortest = row.samples[0]
    if shortest.said == SHORTEST or shortest.events - 1 > deepest:
        return shortest.events, shortest.said == SHORTEST
    started = time.process_time()
    trace = Trace.loads(shortest.text)
    search = Shorter(Suspicion(trace, bug_of(replay(trace)[1])), trace, kinds_named(()))
    found = search.first(ENDLESS)
    spent = f"{time.process_time() - started:.0f} s of CPU"
    print(row.change, *shortest.violates, "searched in", spent, file=sys.stderr, flush=True)
    return len(found.events) if found else shortest.events, True


def cells(row: Alike, length: int, proven: bool) -> Row:
    """The row of the table, when it is known how long the shortest trace is."""
    texts = [each.text for each in row.samples]
    return (
        code(row.change),
        ", ".join(map(code, row.samples[0].violates)),
        f"{length}" if proven else f"at most {length}",
        str(len(row.samples)),
        str([each.events for each in row.samples].count(length)),
        str(max(map(texts.count, texts))),
    )


def percentile(values: list[float], share: float) -> float:
    """The value that *share* of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def cost(spent: list[Sample]) -> str:
    """How long minimising took, in seconds and in additions."""
    seconds, additions = [s.cpu_seconds for s in spent], [s.additions for s in spent]
    return (
        f"Minimising took {percentile(seconds, 0.5):.2f} s of CPU in the median and "
        f"{percentile(seconds, 0.95):.2f} s at the 95th percentile of {len(spent)}: as long as "
        f"{percentile(additions, 0.5):.0f} and {percentile(additions, 0.95):.0f} million numbers "
        "are added."
    )


def yardstick() -> float:
    """CPU seconds of a million additions, to compare machines by."""
    started, total = time.process_time(), 0
    for number in range(1_000_000):
        total += number
    return time.process_time() - started


HEAD = ("change", "violates", "optimum", "seeds", "as short as the shortest", "identical")


def main(argv: list[str]) -> int:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("changes", nargs="*", help="default: all that take no race, on tiny")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--prove", type=int, default=0, help="how many operations deep")
    parser.add_argument("--seconds", type=float, help="begin no change after so many")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    args = parser.parse_args(argv)
    tiny = [c.name for c in CHANGES if c.breaks and not c.races and c.geometry == "tiny"]
    started = time.monotonic()
    rows: list[Alike] = []
    spent: list[Sample] = []
    skipped: list[str] = []
    in_vain: list[str] = []
    with ProcessPoolExecutor(args.workers) as pool:
        for change in args.changes or tiny:
            if args.seconds and time.monotonic() - started > args.seconds:
                skipped.append(change)
                continue
            found = pool.map(sampled, [(change, seed, args.steps) for seed in range(args.seeds)])
            samples = [each for each in found if each is not None]
            spent += samples
            in_vain += [] if samples else [change]
            rows += alike(change, samples)
        optima = [*pool.map(optimum, rows, [args.prove] * len(rows))]
    table = [cells(row, *each) for row, each in zip(rows, optima, strict=True)]
    print(
        f"Counterexamples of {counted(args.steps, 'step')} or a few more, "
        f"{counted(args.seeds, 'seed')} a change, Python {platform.python_version()}.\n"
    )
    print(markdown(Table(heading=HEAD, rows=table)))
    if spent:
        print(cost(spent))
    if in_vain:
        print(f"\nNo counterexample was found of: {', '.join(map(code, in_vain))}.")
    if skipped:
        print(f"\nNot run, for want of time: {', '.join(map(code, skipped))}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
