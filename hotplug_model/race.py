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
from hotplug_model.checker import QUIESCENT, Checker, Violation, carry_out
from hotplug_model.contenders import (
    REQUESTS,
    Kinds,
    Start,
    every_request,
    every_start,
    everything,
)
from hotplug_model.defects import DEFECTS
from hotplug_model.defects.defect import WALKERS_SEE
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.invariants.walkers import must_not_see
from hotplug_model.kernel import Kernel
from hotplug_model.minimise import minimise
from hotplug_model.ops import Op
from hotplug_model.ops.interleave import Interleave
from hotplug_model.ops.walk import Walk
from hotplug_model.schedules import Schedules
from hotplug_model.trace import Trace, broken, replay
from hotplug_model.walkers import READERS, WALKERS
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
    most: int = REQUESTS
    """Requests of a kind that are tried on a machine."""
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
    """Known defects of mainline and accepted races that show in flight only, and those that
    the walker of the pair meets in the middle of the other."""
    trace: Trace | None = None
    """The shortest schedule that breaks something else."""
    flaky: str | None = None
    """Why there was such a schedule and no counterexample."""

    @property
    def verdict(self) -> str:
        """``flaky``, ``unsafe``, ``known``, ``accepted``, ``alone``, ``safe``, or ``never`` if
        both cannot be asked for."""
        if self.flaky:
            return "flaky"
        if self.trace is not None:
            return "unsafe"
        if any(not DEFECTS[name].accepted for name in self.defects):
            return "known"
        if self.defects:
            return "accepted"
        if any(defect is None for _, defect in self.alone):
            return "alone"
        return "safe" if self.nr_requests else "never"


@dataclass(slots=True, kw_only=True)
class Contest:
    """Two requests on one machine."""

    start: Start
    schedules: Schedules
    alone: set[Broke] = field(default_factory=set)
    """What they break one after the other."""


class Race:
    """Races on one kernel."""

    def __init__(self, request: RaceRequest) -> None:
        self.request = request
        self.sound: set[bytes] = set()
        geometry, rules = GEOMETRIES[request.geometry], request.variant.rules()
        self.starts = [
            start
            for layout in request.layouts.values()
            for start in every_start(
                Kernel.boot(geometry, rules, layout), self.sound, request.most
            )
            if self._holds(start.kernel)
        ]
        # What is simplest to tell comes first: it ends a search.
        self.starts.sort(key=lambda start: len(start.events))

    def race(self, kinds: Kinds) -> Pair:
        """Race two kinds with one switch, with two, and so on until something breaks."""
        pair = Pair(kinds=kinds)
        contests = [
            Contest(start=start, schedules=Schedules(start.kernel, ops, self.sound))
            for start in self.starts
            for ops in every_request(start, kinds)
        ]
        pair.nr_requests = len(contests)
        for nr in range(1, self.request.switches + 1):
            if any(self._breaks(pair, contest, nr) for contest in contests):
                break
        pair.nr_schedules = sum(contest.schedules.nr_tried for contest in contests)
        return pair

    def _breaks(self, pair: Pair, contest: Contest, nr: int) -> bool:
        """Whether something breaks with *nr* switches that does not without."""
        start, ops = contest.start, contest.schedules.ops
        if nr == 1:
            contest.alone = one_after_the_other(start, ops)
            pair.alone |= contest.alone
            if isinstance(ops[0], Walk) and any(defect for _, defect in contest.alone):
                pair.defects |= in_sight(start, ops[0], ops[1])
            if isinstance(ops[0], Walk) and any(defect is None for _, defect in contest.alone):
                # It is no race, but who asks about a walker wants to know.
                pair.trace = self._trace(start, ops[1])
                return True
        for turns, found in contest.schedules.with_switches(nr):
            new = {what(violation) for violation in found} - contest.alone
            pair.defects |= {defect for _, defect in new if defect}
            if any(defect is None for _, defect in new):
                pair.trace = self._trace(start, Interleave(ops, turns))
                return True
        return False

    def _trace(self, start: Start, event: Op) -> Trace:
        """What happened, the last event breaking something, as a trace, minimal."""
        variant = self.request.variant
        trace = Trace(
            geometry=self.request.geometry, boot=start.kernel.layout, release=variant.release,
            changes=tuple(change.name for change in variant.changes),
            events=(*start.events, event),
        )  # fmt: skip
        return minimise(replace(trace, violates=broken(replay(trace)[1])))

    def _holds(self, kernel: Kernel) -> bool:
        """Whether nothing but known defects shows before anything is in flight."""
        found = Checker(kernel, sound=self.sound).look(QUIESCENT)
        return all(violation.defect for violation in found)


def one_after_the_other(start: Start, ops: Sequence[Op]) -> set[Broke]:
    """What two operations break without a switch, in either order."""
    found: list[Violation] = []
    for first, second in (ops, ops[::-1]):
        kernel, broke = start.after(first)
        checker = Checker(kernel.snapshot(), sound=start.sound)
        found += broke + everything(checker.apply(second))
    return set(map(what, found))


def in_sight(start: Start, walk: Walk, op: Op) -> set[str]:
    """Known defects in the middle of *op* by which the walker comes to what it must not see. They
    are there whether it walks or not, but who asks about a walker wants to know."""
    met: set[str] = set()
    kernel, walker = start.kernel.snapshot(), READERS[walk.walker]
    checker = Checker(kernel, sound=start.sound)

    def at(milestone: str) -> None:
        x = kernel.extents()
        if walker.may_run(x) and (rows := walker.reads(x) & must_not_see(x)).any():
            known = [v for v in checker.look(milestone) if v.invariant in WALKERS_SEE]
            met.update(v.defect for v in known if v.defect and rows[x.touched(v.pfns)].any())

    if walk.walker in WALKERS:
        carry_out(kernel, op, at)
    return met


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
        pool.end()


def start_racing(request: RaceRequest, release: str | None, changes: tuple[str, ...]) -> None:
    """What a worker does first."""
    for name in request.walkers:
        find_reader(name)
    WORKER[:] = [Race(replace(request, variant=KernelVariant.named(release, changes)))]


def race_in_worker(kinds: Kinds) -> Pair:
    """Race one pair in a worker."""
    (race,) = WORKER
    return race.race(kinds)
