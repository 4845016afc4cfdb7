"""One check of one kernel: search, minimise, verify, account."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hotplug_model.coverage import Coverage
from hotplug_model.machine import FLAKY, Broken, OutOfTime, Run, search
from hotplug_model.settings import Profile
from hotplug_model.trace import Trace
from hotplug_model.verdict import Report, Request, conclude

ROUND = 200
"""Examples a round: between rounds the time is looked at, and the seed changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest(Request):
    """What to check, and how hard."""

    profile: Profile


def check(
    request: CheckRequest,
    on_step: Callable[[Coverage], None] = lambda coverage: None,
    on_found: Callable[[Trace], None] = lambda trace: None,
) -> Report:
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
        faults=request.faults,
        races=request.races,
        on_step=on_step,
        on_found=lambda found: on_found(found.trace),
        deadline=started + request.seconds if request.seconds else float("inf"),
    )
    report = Report(request=request, coverage=run.coverage)
    try:
        found = search_in_rounds(request, run)
    except OutOfTime:
        found = run.shortest
    except KeyboardInterrupt:
        report.interrupted, found = True, run.shortest
    except FLAKY as flaky:
        report.flaky, found = str(flaky).partition("\n")[0], None
    if found is not None:
        conclude(report, found.trace, on_found)
    report.seconds = time.monotonic() - started
    return report


def search_in_rounds(request: CheckRequest, run: Run) -> Broken | None:
    """Search a round at a time, each with its own seed."""
    limit = request.profile.examples if request.seconds is None else 1 << 40
    for number in range(-(-limit // ROUND)):
        examples = min(ROUND, limit - number * ROUND)
        seed = request.seed * 1_000_003 + number
        found = search(run, max_examples=examples, steps=request.profile.steps, seed=seed)
        if found is not None:
            return found
        if time.monotonic() > run.deadline:
            return None
    return None
