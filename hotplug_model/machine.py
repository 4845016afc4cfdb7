"""The Hypothesis driver: a RuleBasedStateMachine that requests one operation after another.

The only file that imports Hypothesis. Its one rule draws an operation as the random walk
does: where each kind had a rule of its own, Hypothesis switched off most of the rules in
half of the examples, and of what needs several others first it drew next to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast
from unittest import TestCase

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, settings, stateful
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from hotplug_model.boot import LAYOUTS, BootLayout
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker, Violation
from hotplug_model.coverage import Coverage
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.rules import KernelRules
from hotplug_model.together import draw_next, drawn_layouts, swarm
from hotplug_model.trace import Trace, broken

CHOICES = 1 << 192
"""A step is drawn as one packed integer: one Hypothesis choice an operation."""
SIMPLEST = 1 << 320
"""The packed integer that is 0. Hypothesis likes small numbers and, of larger ones, those
that it finds in the source of what is loaded: here it knows none, so that it draws the
same whoever runs it, and all choices alike."""


class PackedChooser:
    """A :class:`~hotplug_model.ops.Chooser` that unpacks its choices from one integer.

    0 unpacks to the simplest choice everywhere, so that shrinking goes there.
    """

    def __init__(self, packed: int) -> None:
        self._rest = packed

    def index(self, n: int) -> int:
        """Choose an index below *n*."""
        self._rest, choice = divmod(self._rest, n)
        return choice


class OutOfTime(KeyboardInterrupt):
    """The time that the user gave is over. Hypothesis lets interrupts through."""


class Broken(AssertionError):
    """A machine broke an invariant; carries the trace."""

    def __init__(self, trace: Trace, violations: list[Violation]) -> None:
        super().__init__("\n".join(map(str, violations)))
        self.trace = trace
        self.violations = violations


@dataclass(slots=True, kw_only=True)
class Run:
    """What the machines of one check share."""

    variant: KernelVariant
    geometry: str
    layouts: dict[str, BootLayout]
    strict: bool = False
    faults: bool = False
    """Whether an allocation of an operation may fail."""
    races: bool = False
    """Whether two operations may be in flight together."""
    coverage: Coverage = field(default_factory=Coverage)
    on_step: Callable[[Coverage], None] = lambda coverage: None
    on_found: Callable[[Broken], None] = lambda found: None
    deadline: float = float("inf")
    """In time.monotonic() seconds; ignored once something is found, to see it repeat."""
    shortest: Broken | None = None
    """The counterexample with the fewest events so far: nothing found is lost."""
    sound: set[bytes] = field(default_factory=set)

    def found(self, broken_by: Broken) -> None:
        """Keep the shortest counterexample."""
        best = self.shortest
        if best is None or len(broken_by.trace.events) < len(best.trace.events):
            self.shortest = broken_by
            self.on_found(broken_by)

    def stepped(self) -> None:
        """Report progress; stop when the time is over and nothing was found."""
        self.on_step(self.coverage)
        if self.shortest is None and time.monotonic() > self.deadline:
            raise OutOfTime


class MemoryHotplug(RuleBasedStateMachine):
    """Boots a machine and applies operations; every milestone is checked."""

    run: Run
    kernel_rules: KernelRules

    def __init__(self) -> None:
        super().__init__()
        self.checker: Checker | None = None
        self.kernel: Kernel | None = None
        self.layout: BootLayout | None = None
        self.kinds: list[type[Op]] = []
        self.events: list[Op] = []

    def boot(self, layout: str, kinds: list[type[Op]]) -> None:
        """Boot one of the layouts, and let operations of *kinds* be drawn there."""
        run, self.kinds = self.run, kinds
        self.layout = run.layouts[layout]
        geometry = GEOMETRIES[run.geometry]
        self.kernel = Kernel.boot(geometry, self.kernel_rules, self.layout)
        self.checker = Checker(self.kernel, run.strict, run.sound, run.coverage.reached)
        violations = self.checker.boot()
        run.coverage.start_example(self.checker.state)
        self.judge(violations)

    def request(self, op: Op) -> None:
        """Carry one operation out and judge what came of it."""
        assert self.checker is not None
        run, checker = self.run, self.checker
        self.events.append(op)
        outcome = checker.apply(op)
        run.coverage.count(op, outcome)
        run.stepped()
        self.judge(outcome.violations)

    def judge(self, violations: list[Violation]) -> None:
        """Raise :class:`Broken` if there are *violations*."""
        if not violations:
            return
        assert self.layout is not None
        trace = Trace(
            geometry=self.run.geometry,
            boot=self.layout,
            release=self.run.variant.release,
            changes=tuple(change.name for change in self.run.variant.changes),
            strict=self.run.strict,
            events=tuple(self.events),
            violates=broken(violations),
        )
        broken_by = Broken(trace, violations)
        self.run.found(broken_by)
        raise broken_by


def packed() -> st.SearchStrategy[PackedChooser]:
    """Choices for whatever they are asked for."""
    return st.integers(SIMPLEST, SIMPLEST + CHOICES - 1).map(
        lambda number: PackedChooser(number - SIMPLEST)
    )


@st.composite
def drawn(draw: st.DrawFn) -> Op:
    """An operation, or two in flight together, in the running machine's state."""
    machine: Any = draw(st.runner())
    run: Run = machine.run
    return draw_next(machine.kernel, machine.kinds, draw(packed()), run.faults, run.races)


def machine_for(run: Run) -> type[MemoryHotplug]:
    """A state machine class over every registered operation that can be drawn."""

    def boot(self: MemoryHotplug, layout: str, kinds: list[type[Op]]) -> None:
        self.boot(layout, kinds)

    def request(self: MemoryHotplug, op: Op) -> None:
        self.request(op)

    layouts = st.sampled_from(drawn_layouts(run.layouts))
    kinds = packed().map(swarm)
    members = {
        "run": run,
        "kernel_rules": run.variant.rules(),
        "boot_layout": stateful.initialize(layout=layouts, kinds=kinds)(boot),
        "operation": stateful.rule(op=drawn())(request),
    }
    return type("MemoryHotplug", (MemoryHotplug,), members)


def case_for(
    *changes: str,
    release: str | None = None,
    geometry: str = "tiny",
    strict: bool = False,
    faults: bool = False,
    races: bool = False,
) -> type[TestCase]:
    """What a test file needs: ``TestMine = case_for("module:function")`` is collected.

    Every boot layout is drawn; the active Hypothesis profile says how hard to look. With
    *faults* some operations are drawn with an allocation that fails, with *races* some two
    together, which take turns.
    """
    sizes = GEOMETRIES[geometry]
    run = Run(
        variant=KernelVariant.named(release, changes),
        geometry=geometry,
        layouts={name: make(sizes) for name, make in LAYOUTS.items()},
        strict=strict,
        faults=faults,
        races=races,
    )
    case: Any = machine_for(run).TestCase
    case.settings = settings(case.settings, phases=without_explaining(case.settings.phases))
    return cast(type[TestCase], case)


def without_explaining(phases: Iterable[Phase]) -> tuple[Phase, ...]:
    """Explaining costs several times the shrinking, and says what the trace says."""
    return tuple(phase for phase in phases if phase is not Phase.explain)


def search(run: Run, *, max_examples: int, steps: int, seed: int) -> Broken | None:
    """Let Hypothesis look for a counterexample; None if it finds none.

    It does not shrink what it finds: to it, one violation is as good as another. Raises
    :class:`OutOfTime`, or Hypothesis' Flaky if a failure does not repeat.
    """
    machine = hypothesis.seed(seed)(machine_for(run))
    configuration = settings(
        max_examples=max_examples,
        stateful_step_count=steps,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    try:
        run_state_machine_as_test(machine, settings=configuration)
    except Broken as found:
        return found
    return None


FLAKY = Flaky
"""What :func:`search` raises when a failure does not repeat."""
