"""The seeded random walk: the operations of a check without Hypothesis around them.

An example boots a machine and applies operations that it draws from what the machine
holds. What example *n* does follows from the seed and from *n* alone, so that examples
may be dealt out to processes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeAlias

from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker, Violation
from hotplug_model.coverage import Coverage
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.together import draw_next, drawn_layouts, swarm
from hotplug_model.trace import Trace, broken
from hotplug_model.verdict import Report, Request, conclude
from hotplug_model.workers import blocked_interrupts, pool_of, wait_for, why

STEPS = 100_000
"""Steps of a walk that is given neither steps nor seconds."""
ENDLESS = 1 << 40
MAX_SOUND = 1 << 21
"""Verdicts to remember, about 130 bytes each; then all are forgotten, which costs time, not
correctness. States are hardly ever met again, but rows of the memmap are: after 40,000 steps a
step asks 36 questions, at first 49."""
CHUNK = 10
"""Examples that a worker walks through at a time."""
WORD = (1 << 64) - 1


class SeededChooser:
    """A :class:`~hotplug_model.ops.Chooser` that two integers decide, in any Python.

    Source: SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
    Generators, OOPSLA 2014).
    """

    def __init__(self, seed: int, example: int) -> None:
        self._state = mix(mix(seed & WORD) + example & WORD)

    def index(self, n: int) -> int:
        """Choose an index below *n*."""
        self._state = self._state + 0x9E3779B97F4A7C15 & WORD
        return mix(self._state) * n >> 64


def mix(word: int) -> int:
    """A permutation of 64-bit words of which each bit depends on all."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB & WORD
    return word ^ word >> 31


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkRequest(Request):
    """What to walk on, and how far."""

    steps: int = STEPS
    """Of all examples together; fewer if there are *seconds* and these are over."""
    example_steps: int = 40
    """Operations from one boot to the next."""
    workers: int = 1
    """Processes that share the examples; the result does not depend on it."""

    @property
    def nr_examples(self) -> int:
        """Machines to boot; the last one may have fewer steps."""
        return -(-self.steps // self.example_steps)

    def steps_of(self, example: int) -> int:
        """Operations of one example."""
        return min(self.example_steps, self.steps - example * self.example_steps)

    def booted(self, layout: str) -> Trace:
        """The trace of a machine to which nothing has happened yet."""
        return Trace(
            geometry=self.geometry,
            boot=self.layouts[layout],
            release=self.variant.release,
            changes=tuple(change.name for change in self.variant.changes),
            strict=self.strict,
        )


@dataclass(slots=True, kw_only=True)
class RandomWalk:
    """Walks through examples in one process. Each layout is booted once."""

    request: WalkRequest
    deadline: float = float("inf")
    """In time.monotonic() seconds."""
    coverage: Coverage = field(default_factory=Coverage)
    on_step: Callable[[Coverage], None] = lambda coverage: None
    _sound: set[bytes] = field(default_factory=set)
    _kernels: dict[str, Kernel] = field(default_factory=dict)

    def walk(self, examples: range) -> Trace | None:
        """What the first of *examples* that breaks something did; None if all hold."""
        for number in examples:
            if self.out_of_time():
                return None
            if len(self._sound) > MAX_SOUND:
                self._sound.clear()
            if found := self.example(number):
                return found
        return None

    def example(self, number: int) -> Trace | None:
        """Boot a machine and apply its operations; the trace if something broke."""
        choose = SeededChooser(self.request.seed, number)
        names = drawn_layouts(self.request.layouts)
        layout = names[choose.index(len(names))]
        kinds = swarm(choose)
        checker = self._machine(layout)
        events: list[Op] = []
        violations = checker.boot()
        self.coverage.start_example(checker.state)
        for _ in range(self.request.steps_of(number)):
            if violations or self.out_of_time():
                break
            request = self.request
            op = draw_next(checker.kernel, kinds, choose, request.faults, request.races)
            events.append(op)
            violations = self._apply(checker, op)
        if not violations:
            return None
        booted = self.request.booted(layout)
        return replace(booted, events=tuple(events), violates=broken(violations))

    def out_of_time(self) -> bool:
        """Whether the time that the user gave is over."""
        return time.monotonic() > self.deadline

    def _apply(self, checker: Checker, op: Op) -> list[Violation]:
        outcome = checker.apply(op)
        self.coverage.count(op, outcome)
        if not outcome.violations:
            # An interrupt that waits must not lose what was just found.
            self.on_step(self.coverage)
        return outcome.violations

    def _machine(self, layout: str) -> Checker:
        """A machine right after boot."""
        if layout not in self._kernels:
            self._kernels[layout] = self.request.booted(layout).machine().kernel
        kernel = self._kernels[layout].snapshot()
        return Checker(kernel, self.request.strict, self._sound, self.coverage.reached)


def walk(
    request: WalkRequest,
    on_step: Callable[[Coverage], None] = lambda coverage: None,
    on_found: Callable[[Trace], None] = lambda trace: None,
) -> Report:
    """Walk until something breaks, or steps or time run out.

    *on_found* gets the counterexample as soon as it is known, and again when it is
    minimal: whoever kills the process loses nothing.
    """
    started = time.monotonic()
    deadline = started + request.seconds if request.seconds else float("inf")
    report = Report(request=request, coverage=Coverage())
    found: Trace | None = None
    try:
        for found in explore(request, deadline, report.coverage, on_step):
            on_found(found)
    except KeyboardInterrupt:
        report.interrupted = True
    except BrokenProcessPool as error:
        report.stopped = why(error)
    if found is not None:
        conclude(report, found, on_found)
    report.seconds = time.monotonic() - started
    return report


def explore(
    request: WalkRequest, deadline: float, coverage: Coverage, on_step: Callable[[Coverage], None]
) -> Iterator[Trace]:
    """The trace of the first example that breaks something, if one does."""
    if request.workers > 1:
        yield from explore_in_processes(request, deadline, coverage, on_step)
        return
    walking = RandomWalk(request=request, deadline=deadline, coverage=coverage, on_step=on_step)
    if found := walking.walk(range(request.nr_examples)):
        yield found


# Several processes

Walked: TypeAlias = tuple[Coverage, Trace | None]
"""What a worker returns for a chunk of examples."""


def explore_in_processes(
    request: WalkRequest, deadline: float, coverage: Coverage, on_step: Callable[[Coverage], None]
) -> Iterator[Trace]:
    """As :func:`explore`: what comes back is looked at in the order of the examples."""
    chunks = (
        range(start, min(start + CHUNK, request.nr_examples))
        for start in range(0, request.nr_examples, CHUNK)
    )
    pool = pool_of(request.workers, start_walking, *named(request, deadline))
    pending: deque[Future[Walked]] = deque()
    try:
        with blocked_interrupts():
            pending += [pool.submit(walk_chunk, c) for c in islice(chunks, 2 * request.workers)]
        while pending:
            tried, found = wait_for(pending[0], lambda: on_step(coverage))
            pending.popleft()
            coverage.merge(tried)
            if found is not None:
                yield found
                return
            more = 1 if time.monotonic() < deadline else 0
            pending += [pool.submit(walk_chunk, chunk) for chunk in islice(chunks, more)]
    except KeyboardInterrupt:
        yield from (f for each in pending if each.done() for f in each.result()[1:] if f)
        raise
    finally:
        pool.end()


Named: TypeAlias = tuple[WalkRequest, str | None, tuple[str, ...], tuple[str, ...], float]


def named(request: WalkRequest, deadline: float) -> Named:
    """A request as it may be sent: changes are the same objects in one process only."""
    variant = request.variant
    changes = tuple(change.name for change in variant.changes)
    mainline = replace(request, variant=KernelVariant())
    return mainline, variant.release, changes, tuple(variant.backports), deadline


WORKER: list[RandomWalk] = []
"""The walk of this process, if it is a worker."""


def start_walking(
    request: WalkRequest,
    release: str | None,
    changes: tuple[str, ...],
    backports: tuple[str, ...],
    deadline: float,
) -> None:
    """What a worker does first."""
    variant = KernelVariant.named(release, changes, backports)
    WORKER[:] = [RandomWalk(request=replace(request, variant=variant), deadline=deadline)]


def walk_chunk(examples: range) -> Walked:
    """Walk through *examples* in a worker."""
    (walking,) = WORKER
    # Once everything was reached it is not looked for any more, which saves time.
    walking.coverage = Coverage(reached=walking.coverage.reached)
    found = walking.walk(examples)
    return walking.coverage, found
