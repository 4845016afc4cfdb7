"""One check of one kernel: search, shrink, minimise, verify, account."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hotplug_model.boot import BootLayout
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Violation
from hotplug_model.coverage import Coverage
from hotplug_model.machine import FLAKY, Broken, OutOfTime, Run, search
from hotplug_model.minimise import minimise
from hotplug_model.trace import Trace, broken, replay

ROUND = 200
"""Examples a round: between rounds the time is looked at, and the seed changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How hard to look."""

    max_examples: int
    steps: int


PROFILES = {
    "dev": Profile(max_examples=400, steps=30),
    "ci": Profile(max_examples=2000, steps=40),
    "nightly": Profile(max_examples=40_000, steps=60),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest:
    """What to check, and how long."""

    variant: KernelVariant
    geometry: str
    layouts: dict[str, BootLayout]
    profile: Profile
    seconds: float | None = None
    seed: int = 0
    strict: bool = False


@dataclass(slots=True, kw_only=True)
class CheckReport:
    """What came of it."""

    request: CheckRequest
    coverage: Coverage
    seconds: float = 0.0
    trace: Trace | None = None
    """The minimised counterexample."""
    violations: list[Violation] = field(default_factory=list)
    flaky: str | None = None
    interrupted: bool = False

    @property
    def verdict(self) -> str:
        """``held`` or ``violated``."""
        return "violated" if self.trace is not None else "held"


def check(
    request: CheckRequest,
    on_step: Callable[[Coverage], None] = lambda coverage: None,
    on_found: Callable[[Trace], None] = lambda trace: None,
) -> CheckReport:
    """Look for a counterexample until one is found, or examples or time run out.

    *on_found* gets every counterexample that is shorter than the last, as soon as it is
    known: whoever kills the process loses nothing.
    """
    started = time.monotonic()
    run = Run(
        variant=request.variant,
        geometry=request.geometry,
        layouts=request.layouts,
        strict=request.strict,
        on_step=on_step,
        on_found=lambda found: on_found(found.trace),
        deadline=started + request.seconds if request.seconds else float("inf"),
    )
    report = CheckReport(request=request, coverage=run.coverage)
    try:
        found = search_in_rounds(request, run)
    except OutOfTime:
        found = run.shortest
    except KeyboardInterrupt:
        report.interrupted, found = True, run.shortest
    except FLAKY as flaky:
        report.flaky, found = str(flaky).partition("\n")[0], None
    if found is not None:
        conclude(report, found, on_found)
    report.seconds = time.monotonic() - started
    return report


def search_in_rounds(request: CheckRequest, run: Run) -> Broken | None:
    """Search a round at a time, each with its own seed."""
    limit = request.profile.max_examples if request.seconds is None else 1 << 40
    for number in range(-(-limit // ROUND)):
        examples = min(ROUND, limit - number * ROUND)
        seed = request.seed * 1_000_003 + number
        found = search(run, max_examples=examples, steps=request.profile.steps, seed=seed)
        if found is not None:
            return found
        if time.monotonic() > run.deadline:
            return None
    return None


def conclude(report: CheckReport, found: Broken, on_found: Callable[[Trace], None]) -> None:
    """Minimise the counterexample and see that it repeats."""
    trace = minimise(found.trace)
    index, violations = replay(trace)
    if index is None or broken(violations) != trace.violates:
        report.flaky = "the counterexample did not repeat when it was replayed"
        return
    trace = replace(trace, title=f"{trace.variant()}: {violations[0].message}")
    report.trace, report.violations = trace, violations
    on_found(trace)
