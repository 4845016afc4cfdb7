"""Which operations and walkers are safe to run at once: every two, in every order.

A pair is unsafe if a schedule breaks what the same two operations, one after the other in
either order, do not. What the kernel accepts, and what is a known defect of mainline, is
told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from hotplug_model.boot import BootLayout
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import QUIESCENT, Checker, Violation
from hotplug_model.contenders import Kinds, Start, every_request, every_start
from hotplug_model.defects import DEFECTS
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.minimise import minimise
from hotplug_model.ops import Op
from hotplug_model.ops.interleave import Interleave
from hotplug_model.ops.walk import Walk
from hotplug_model.schedules import Schedules
from hotplug_model.trace import Trace, broken, replay
from hotplug_model.walkers.own import find_reader
from hotplug_model.workers import blocked_interrupts, pool_of

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
    walkers: tuple[str, ...] = ()
    """The user's own, which every process has to import."""


@dataclass(slots=True, kw_only=True)
class Pair:
    """What became of two kinds in flight together."""

    kinds: Kinds
    nr_requests: int = 0
    """How many times two requests were raced."""
    nr_schedules: int = 0
    alone: set[Broke] = field(default_factory=set)
    """What breaks even if one runs after the other."""
    defects: set[str] = field(default_factory=set)
    """Known defects of mainline and accepted races that show in flight only."""
    trace: Trace | None = None
    """The shortest schedule that breaks something else."""

    @property
    def verdict(self) -> str:
        """``unsafe``, ``known``, ``accepted``, ``alone``, ``safe``, or ``never`` if both
        cannot be asked for."""
        if self.trace is not None:
            return "unsafe"
        if any(not DEFECTS[name].accepted for name in self.defects):
            return "known"
        if self.defects:
            return "accepted"
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
                    if self._misled(pair, start, ops, alone[key]):
                        return pair
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
                    pair.trace = self._trace(start, Interleave(ops, turns))
                    return True
        finally:
            pair.nr_schedules += schedules.nr_tried
        return False

    def _misled(self, pair: Pair, start: Start, ops: Sequence[Op], alone: set[Broke]) -> bool:
        """Whether a walker breaks something at a single instant: that is no race, but who
        asks about a walker wants to know."""
        walk, op = ops
        if isinstance(walk, Walk) and any(defect is None for _, defect in alone):
            pair.trace = self._trace(start, op)
        return pair.trace is not None

    def _trace(self, start: Start, event: Op) -> Trace:
        """What happened, the last event breaking something, as a trace, minimal."""
        variant = self.request.variant
        trace = Trace(
            geometry=self.request.geometry, boot=start.layout, release=variant.release,
            changes=tuple(change.name for change in variant.changes),
            events=(*start.events, event),
        )  # fmt: skip
        return minimise(replace(trace, violates=broken(replay(trace)[1])))

    def _holds(self, kernel: Kernel) -> bool:
        """Whether nothing but known defects shows before anything is in flight."""
        found = Checker(kernel, sound=self.sound).look(QUIESCENT)
        return all(violation.defect for violation in found)


def what(violation: Violation) -> Broke:
    """What makes a violation new: where and when it shows does not."""
    return violation.invariant, violation.defect


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
    for name in request.walkers:
        find_reader(name)
    WORKER[:] = [Race(replace(request, variant=KernelVariant.named(release, changes)))]


def race_in_worker(kinds: Kinds) -> Pair:
    """Race one pair in a worker."""
    (race,) = WORKER
    return race.race(kinds)
