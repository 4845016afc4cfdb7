"""What every search is asked and what it answers, whoever drives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hotplug_model.boot import BootLayout
from hotplug_model.certify import certify
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Violation
from hotplug_model.coverage import Coverage
from hotplug_model.floor import shortfalls
from hotplug_model.settings import NO_FLOOR, Floor
from hotplug_model.trace import Trace, broken, replay


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which kernel to search on which machines, and for how long at the most."""

    variant: KernelVariant
    geometry: str
    layouts: dict[str, BootLayout]
    seconds: float | None = None
    seed: int = 0
    strict: bool = False
    faults: bool = False
    """Whether an allocation of an operation may fail."""
    races: bool = False
    """Whether two operations may be in flight together."""
    floor: Floor = NO_FLOOR
    """What the run must have seen if it finds nothing."""


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of a search of any kind."""

    seconds: float = 0.0
    trace: Trace | None = None
    """The minimal counterexample."""
    violations: list[Violation] = field(default_factory=list)
    flaky: str | None = None
    """In what way a counterexample did not repeat."""
    interrupted: bool = False
    stopped: str = ""
    """Why the search could not go on; empty if nobody but the user ended it."""

    @property
    def verdict(self) -> str:
        """``held``, ``violated``, ``flaky``, or ``stopped`` before anything was found."""
        if self.flaky:
            return "flaky"
        if self.trace is not None:
            return "violated"
        return "stopped" if self.stopped else "held"


@dataclass(slots=True, kw_only=True)
class Report(Result):
    """What came of a random search."""

    request: Request
    coverage: Coverage

    @property
    def missed(self) -> list[str]:
        """What the floor asks for and a whole run that found nothing did not see."""
        whole = self.verdict == "held" and not self.interrupted
        return shortfalls(self.coverage, self.request.floor) if whole else []


def conclude(report: Report, found: Trace, on_found: Callable[[Trace], None]) -> None:
    """Minimise the counterexample, on any of the machines, and see that it repeats."""
    trace = certify(found, report.request.layouts.values())
    index, violations = replay(trace)
    if index is None or broken(violations) != trace.violates:
        report.flaky = "the counterexample did not repeat when it was replayed"
        return
    trace = replace(trace, title=f"{trace.variant()}: {violations[0].message}")
    report.trace, report.violations = trace, violations
    on_found(trace)
