"""Looking for a shorter trace of a bug, breadth first, as far as a budget goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from hotplug_model.boot import BootLayout
from hotplug_model.explore.space import FULL
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.ops.every import UNUSUAL
from hotplug_model.suspicion import OutOfBudget, Suspicion
from hotplug_model.trace import Trace

Events: TypeAlias = tuple[Op, ...]


@dataclass(slots=True)
class Reached:
    """A machine that operations lead to, and all the ways there of their number.

    On some of them something else may break: that is looked at when it matters.
    """

    boot: BootLayout
    kernel: Kernel
    ways: list[Events]


Arrived: TypeAlias = dict[tuple[BootLayout, bytes], Reached]
"""By boot layout and fingerprint."""


@dataclass(slots=True)
class Shorter:
    """A search on some machines for a trace of the same bug that is shorter.

    Every operation is tried as in :mod:`~hotplug_model.explore.exploration`, with every
    single allocation failing too if one does in the trace. What is kept of a state is the
    machine itself, for a budget leads to few.
    """

    suspicion: Suspicion
    trace: Trace
    kinds: tuple[type[Op], ...]
    """Kinds of operations to try."""
    boots: tuple[BootLayout, ...] = ()
    """The machines, by boot layout; none: that of the trace."""
    unusual: int = UNUSUAL
    """At most so many unusual choices an operation."""
    deepest: int = FULL
    """Events that a trace of interest has at most."""
    complete: int = 0
    """No trace of so many events of these kinds, nor of fewer, shows the bug."""

    def first(self, budget: int) -> Trace | None:
        """The first that is found of the shortest; None if there is none within *budget*.

        A level that takes more than is left of that, if each machine takes as much as the last
        one did, is not begun: half a level proves nothing.
        """
        each = 0.0
        self.suspicion.budget = budget
        boots = self.boots or (self.trace.boot,)
        deepest = min(self.deepest, len(self.trace.events) - 1)
        level = [Reached(boot, self.suspicion.booted(boot), [()]) for boot in boots]
        try:
            while self.complete < deepest:
                left = self.suspicion.budget
                if len(level) * each > left:
                    return None
                arrived: Arrived = {}
                goes_on = self.complete + 1 < deepest
                for before in level:
                    if found := self.expand(before, arrived if goes_on else None):
                        return found
                each = (left - self.suspicion.budget) / len(level)
                level = list(arrived.values())
                # Where nothing leads anywhere any more there is nothing longer, either.
                self.complete = self.complete + 1 if level else deepest
        except OutOfBudget:
            pass
        return None

    def expand(self, before: Reached, arrived: Arrived | None) -> Trace | None:
        """Try every operation on a machine, and add to *arrived* where it leads, if that is of
        interest."""
        boot, here = before.boot, before.kernel.fingerprint()
        for op in self.usual_first(before.kernel):
            kernel = before.kernel.snapshot()
            ways = [(*way, op) for way in before.ways]
            if self.suspicion.breaks(kernel, op):
                for events in ways:
                    if self.suspicion.show(boot, events):
                        return replace(self.trace, boot=boot, events=events)
            elif arrived is not None and (there := kernel.fingerprint()) != here:
                reached = Reached(boot, kernel, [])
                arrived.setdefault((boot, there), reached).ways.extend(ways)
        return None

    def usual_first(self, kernel: Kernel) -> Iterator[Op]:
        """Every operation, those without an unusual choice before all others."""
        usual: set[Op] = set()
        every_op, faults = self.suspicion.drawn.every_op, self.trace.faults
        for op in every_op(kernel, self.kinds, 0, faults):
            usual.add(op)
            yield op
        if self.unusual == 0:
            return
        every = every_op(kernel, self.kinds, self.unusual, faults)
        yield from (op for op in every if op not in usual)
