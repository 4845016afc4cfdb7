"""Asking quickly whether events may show a bug, for searches that try thousands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hotplug_model.boot import BootLayout
from hotplug_model.bug import Bug, Trials
from hotplug_model.checker import Checker, carry_out
from hotplug_model.extents import Sees
from hotplug_model.invariants import INVARIANTS, SOMETIMES
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.trace import Trace

DEAR = 4
"""As many operations cost about as much to judge by sums as one by walkers."""
WHOLE = 8
"""As many operations cost about as much to judge by sums as one by every invariant."""


class OutOfBudget(Exception):
    """As many operations were tried as may be tried."""


class Suspicion:
    """Judges by a few invariants of a bug, and in full only what breaks just these.

    The few are those that ask no walker. If each does, all are asked that do, the bug's or
    not, for what walkers say is found out once. The budget is in operations, not in time,
    so that what comes of it is the same anywhere.
    """

    def __init__(self, trace: Trace, bug: Bug) -> None:
        self.trace = trace
        self.bug = bug
        self.budget = 0
        """Operations that may still be tried."""
        few = sorted({name for name, _ in bug if INVARIANTS[name].sees == Sees.ROW})
        self._asked = tuple(
            each for each in INVARIANTS if (each.name in few if few else each.sees > Sees.ROW)
        )
        self._wanted = {(name, defect) for name, defect in bug if not few or name in few}
        self._price = 1 if few else DEAR
        self._sound: set[bytes] = set()
        self._trials: dict[BootLayout, Trials] = {}

    def trials(self, boot: BootLayout) -> Trials:
        """Tries events in full on the machine that boots so."""
        if boot not in self._trials:
            self._trials[boot] = Trials(replace(self.trace, boot=boot), self.bug)
        return self._trials[boot]

    def booted(self, boot: BootLayout) -> Kernel:
        """That machine right after boot."""
        return self.trials(boot).machine().kernel

    def spend(self, nr: int) -> None:
        """Take *nr* operations from the budget; :class:`OutOfBudget` if it is used up."""
        if self.budget <= 0:
            raise OutOfBudget
        self.budget -= nr

    def breaks(self, kernel: Kernel, op: Op) -> bool:
        """Carry *op* out in place: whether it breaks just what is asked of the bug."""
        self.spend(self._price)
        reached = set(SOMETIMES.names())
        checker = Checker(kernel, self.trace.strict, self._sound, reached, self._asked)
        found = checker.apply(op).violations
        return {(each.invariant, each.defect or "") for each in found} == self._wanted

    def show(self, boot: BootLayout, events: Sequence[Op]) -> bool:
        """Whether *events* show the bug, judged in full."""
        self.spend(WHOLE)
        return self.trials(boot).show(events)

    def may_show(self, boot: BootLayout, events: Sequence[Op]) -> bool:
        """Whether *events* show the bug; in full only if the last breaks what is asked."""
        kernel = self.booted(boot)
        self.spend(len(events) - 1)
        for event in events[:-1]:
            carry_out(kernel, event)
        return self.breaks(kernel, events[-1]) and self.show(boot, events)
