"""Which operations are safe to run at once: every two of them, in every order.

A pair is unsafe if a schedule breaks what the same two operations, one after the other in
either order, do not. What is a known defect of mainline is told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations_with_replacement
from typing import TypeAlias

from hotplug_model.boot import BootLayout
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import QUIESCENT, Checker, Violation, carry_out
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.minimise import minimise
from hotplug_model.ops import OPS, Op, drawn_ops
from hotplug_model.ops.every import draws
from hotplug_model.ops.interleave import Interleave
from hotplug_model.schedules import Schedules, Turns
from hotplug_model.trace import Trace, broken, replay
from hotplug_model.workers import blocked_interrupts, pool_of

BUSY = (
    "memremap_pages", "add_memory", "add_memory", "online_memory_block", "pin_pages",
)  # fmt: skip
"""What happens, each as simple as it can be, before the last of the starts."""
REQUESTS = 3
"""How many requests of a kind are tried: the first, the last, and one amid the others."""

Kinds: TypeAlias = tuple[str, str]
Broke: TypeAlias = tuple[str, str | None]
"""An invariant, and the known defect of mainline that broke it, if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceRequest:
    """What to race."""

    variant: KernelVariant
    geometry: str
    layouts: dict[str, BootLayout]
    """Each is booted, and raced on by itself."""
    switches: int
    """How many times an operation is left before it has returned, at the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A machine on which to race, and how it came about."""

    layout: BootLayout
    events: tuple[Op, ...]
    kernel: Kernel


@dataclass(slots=True, kw_only=True)
class Pair:
    """What became of two kinds of operations in flight together."""

    kinds: Kinds
    nr_requests: int = 0
    """How many times two requests were raced."""
    nr_schedules: int = 0
    alone: set[Broke] = field(default_factory=set)
    """What breaks even if one runs after the other."""
    defects: set[str] = field(default_factory=set)
    """Known defects of mainline that show in flight only."""
    trace: Trace | None = None
    """The shortest schedule that breaks something else."""

    @property
    def verdict(self) -> str:
        """``unsafe``, ``known``, ``alone``, ``safe``, or ``never`` if both cannot be asked for."""
        if self.trace is not None:
            return "unsafe"
        if self.defects:
            return "known"
        if any(defect is None for _, defect in self.alone):
            return "alone"
        return "safe" if self.nr_requests else "never"


class Race:
    """Races on one kernel."""

    def __init__(self, request: RaceRequest) -> None:
        self.request = request
        self.sound: set[bytes] = set()
        geometry, rules = GEOMETRIES[request.geometry], request.variant.rules()
        self.starts = [
            start
            for layout in request.layouts.values()
            for start in every_start(Kernel.boot(geometry, rules, layout))
            if self._holds(start.kernel)
        ]
        # What is simplest to tell comes first: it ends a search.
        self.starts.sort(key=lambda start: len(start.events))

    def race(self, kinds: Kinds) -> Pair:
        """Race two kinds with one switch, with two, and so on until something breaks."""
        pair = Pair(kinds=kinds)
        alone: dict[tuple[int, Op, Op], set[Broke]] = {}
        requests = [
            (number, *ops)
            for number, start in enumerate(self.starts)
            for ops in every_request(start.kernel, kinds)
        ]
        pair.nr_requests = len(requests)
        for nr in range(1, self.request.switches + 1):
            for key in requests:
                number, *ops = key
                start = self.starts[number]
                if key not in alone:
                    alone[key] = self.one_after_the_other(start.kernel, ops)
                    pair.alone |= alone[key]
                if self._schedules(pair, start, (key[1], key[2]), nr, alone[key]):
                    return pair
        return pair

    def one_after_the_other(self, kernel: Kernel, ops: Sequence[Op]) -> set[Broke]:
        """What two operations break without a switch, in either order."""
        found: set[Broke] = set()
        for order in (ops, ops[::-1]):
            checker = Checker(kernel.snapshot(), sound=self.sound)
            for op in order:
                outcome = checker.apply(op)
                found |= {what(v) for v in (*outcome.violations, *outcome.known)}
        return found

    def _schedules(
        self, pair: Pair, start: Start, ops: tuple[Op, Op], nr: int, alone: set[Broke]
    ) -> bool:
        """Try the schedules with *nr* switches; whether one is unsafe."""
        schedules = Schedules(start.kernel, ops, self.sound)
        try:
            for turns, found in schedules.with_switches(nr):
                new = {what(violation) for violation in found} - alone
                pair.defects |= {defect for _, defect in new if defect}
                if any(defect is None for _, defect in new):
                    pair.trace = self._trace(start, ops, turns)
                    return True
        finally:
            pair.nr_schedules += schedules.nr_tried
        return False

    def _trace(self, start: Start, ops: tuple[Op, Op], turns: Turns) -> Trace:
        """The schedule as a trace, minimal."""
        variant = self.request.variant
        trace = Trace(
            geometry=self.request.geometry, boot=start.layout, release=variant.release,
            changes=tuple(change.name for change in variant.changes),
            events=(*start.events, Interleave(ops, turns)),
        )  # fmt: skip
        return minimise(replace(trace, violates=broken(replay(trace)[1])))

    def _holds(self, kernel: Kernel) -> bool:
        """Whether nothing but known defects shows before anything is in flight."""
        found = Checker(kernel, sound=self.sound).look(QUIESCENT)
        return all(violation.defect for violation in found)


def what(violation: Violation) -> Broke:
    """What makes a violation new: where and when it shows does not."""
    return violation.invariant, violation.defect


def every_pair(names: Sequence[str]) -> list[Kinds]:
    """The pair that is named; all, each kind with itself too, if none is."""
    if names:
        first, second = (OPS[name].op_name() for name in names)
        return [(first, second)]
    return list(combinations_with_replacement(drawn_ops(), 2))


def every_start(booted: Kernel) -> Iterator[Start]:
    """Right after boot; one operation of each kind later; and on a busy machine."""
    seen: set[bytes] = set()
    for names in ((), *((name,) for name in drawn_ops()), BUSY):
        kernel = booted.snapshot()
        events = tuple(carried_out(kernel, names))
        state = kernel.fingerprint()
        if len(events) == len(names) and state not in seen:
            seen.add(state)
            yield Start(layout=kernel.layout, events=events, kernel=kernel)


def carried_out(kernel: Kernel, names: Iterable[str]) -> Iterator[Op]:
    """Carry out the simplest operation of each kind, for as long as they succeed."""
    for name in names:
        if not OPS[name].enabled(kernel):
            return
        op = next(draws(kernel, OPS[name], 0))
        refusal, _ = carry_out(kernel, op)
        if refusal is not None:
            return
        yield op


def every_request(kernel: Kernel, kinds: Kinds) -> list[tuple[Op, Op]]:
    """Requests of two kinds: both drawn here, or either where the other has been."""
    found: dict[tuple[Op, Op], None] = {}
    for first in some(kernel, kinds[0]):
        after = kernel.snapshot()
        carry_out(after, first)
        seconds = [*some(kernel, kinds[1]), *some(after, kinds[1])]
        found |= {(first, second): None for second in seconds}
    if kinds[0] != kinds[1]:
        found |= {(b, a): None for a, b in later_first(kernel, kinds)}
    return list(found)


def later_first(kernel: Kernel, kinds: Kinds) -> Iterator[tuple[Op, Op]]:
    """Requests of the second kind, and of the first where that one has been."""
    for second in some(kernel, kinds[1]):
        after = kernel.snapshot()
        carry_out(after, second)
        yield from ((second, first) for first in some(after, kinds[0]))


def some(kernel: Kernel, name: str) -> list[Op]:
    """A few usual requests of one kind; none where it is not enabled."""
    if not OPS[name].enabled(kernel):
        return []
    drawn = list(dict.fromkeys(draws(kernel, OPS[name], 0)))
    return list(dict.fromkeys((drawn[0], drawn[-1], drawn[len(drawn) // 2])))[:REQUESTS]


# Several processes

WORKER: list[Race] = []
"""The race of this process, if it is a worker."""


def race_all(request: RaceRequest, pairs: Sequence[Kinds], workers: int) -> Iterator[Pair]:
    """Race every pair, in order; as soon as it is known what became of it."""
    workers = min(workers, len(pairs))
    if workers == 1:
        yield from map(Race(request).race, pairs)
        return
    variant = request.variant
    # Changes are the same objects in one process only.
    names = tuple(change.name for change in variant.changes)
    mainline = replace(request, variant=KernelVariant())
    pool = pool_of(workers, start_racing, mainline, variant.release, names)
    try:
        with blocked_interrupts():
            pending = [pool.submit(race_in_worker, kinds) for kinds in pairs]
        for each in pending:
            yield each.result()
    finally:
        pool.shutdown(cancel_futures=True)


def start_racing(request: RaceRequest, release: str | None, changes: tuple[str, ...]) -> None:
    """What a worker does first."""
    WORKER[:] = [Race(replace(request, variant=KernelVariant.named(release, changes)))]


def race_in_worker(kinds: Kinds) -> Pair:
    """Race one pair in a worker."""
    (race,) = WORKER
    return race.race(kinds)
