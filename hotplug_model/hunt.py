"""Hunting known bugs: how soon a walk finds each change, and what its shortest trace is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from statistics import median

from hotplug_model.boot import LAYOUTS, find_layout
from hotplug_model.changes import CHANGES, KernelVariant
from hotplug_model.contenders import every_pair
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.minimise import minimise
from hotplug_model.race import Race, RaceRequest
from hotplug_model.settings import PROFILES
from hotplug_model.trace import Trace
from hotplug_model.walk import RandomWalk, WalkRequest
from hotplug_model.workers import blocked_interrupts, pool_of

BUDGET = PROFILES["ci"].examples * PROFILES["ci"].steps
"""Operations that a hunt may take: as many as ``check --profile ci`` tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunt:
    """One walk on mainline with one change."""

    change: str
    seed: int
    steps: int
    """Operations until something broke, or that were tried in vain."""
    seconds: float
    """CPU time of that; what minimising takes is not counted."""
    trace: Trace | None
    """What broke it, minimal; None if nothing did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunted:
    """All hunts for one change, by seed."""

    change: str
    hunts: tuple[Hunt, ...]

    @property
    def found(self) -> tuple[Hunt, ...]:
        """Those that found something."""
        return tuple(hunt for hunt in self.hunts if hunt.trace is not None)

    @property
    def shortest(self) -> Trace | None:
        """The shortest of the minimal traces; of equal ones that of the first seed."""
        traces = [hunt.trace for hunt in self.found if hunt.trace is not None]
        return min(traces, key=lambda trace: len(trace.events), default=None)

    @property
    def steps(self) -> float | None:
        """Median of the operations until something broke."""
        return median(hunt.steps for hunt in self.found) if self.found else None

    @property
    def seconds(self) -> float | None:
        """Median of the CPU seconds until something broke."""
        return median(hunt.seconds for hunt in self.found) if self.found else None


def quarry() -> list[str]:
    """Every change that breaks something."""
    return [change.name for change in CHANGES if change.breaks]


def hunt(name: str, seed: int) -> Hunt:
    """Walk on mainline with change *name* until something breaks, then minimise that.

    A walk has one operation in flight: what takes two is raced, which no seed changes.
    """
    request = request_for(name, seed)
    if CHANGES[name].races:
        return raced(name, request)
    walking = RandomWalk(request=request)
    started = time.process_time()
    found = walking.walk(range(request.nr_examples))
    seconds = time.process_time() - started
    return Hunt(
        change=name, seed=seed, steps=walking.coverage.steps, seconds=seconds,
        trace=minimise(found) if found else None,
    )  # fmt: skip


def raced(name: str, request: WalkRequest) -> Hunt:
    """Race the two operations that show change *name*, each left once at the most and, if that
    shows nothing, twice; a step is a schedule."""
    started, steps = time.process_time(), 0
    (kinds,) = every_pair(CHANGES[name].races)
    for switches in (1, 2):
        racing = RaceRequest(variant=request.variant, geometry=request.geometry,
            layouts=request.layouts, switches=switches)  # fmt: skip
        pair = Race(racing).race(kinds)
        steps += pair.nr_schedules
        if pair.trace is not None:
            break
    seconds = time.process_time() - started
    return Hunt(change=name, seed=request.seed, steps=steps, seconds=seconds, trace=pair.trace)


def request_for(name: str, seed: int) -> WalkRequest:
    """The walk that looks for change *name* where it shows."""
    change = CHANGES[name]
    geometry = GEOMETRIES[change.geometry]
    return WalkRequest(
        variant=KernelVariant.named(None, (*change.needs, name)),
        geometry=change.geometry,
        layouts={name: find_layout(name)(geometry) for name in change.boots or LAYOUTS.names()},
        steps=BUDGET,
        seed=seed,
        faults=change.faults,
    )


def hunts(names: list[str], nr_seeds: int, workers: int) -> Iterator[Hunted]:
    """Hunt each of *names* on seeds 0 to *nr_seeds* - 1, each hunt in some process."""
    pool = pool_of(workers)
    try:
        with blocked_interrupts():
            pending: dict[str, list[Future[Hunt]]] = {
                name: [pool.submit(hunt, name, seed) for seed in range(nr_seeds)] for name in names
            }
        for name, futures in pending.items():
            yield Hunted(change=name, hunts=tuple(future.result() for future in futures))
    finally:
        pool.end()
