"""Asking quickly whether events may show a bug, for searches that try thousands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hotplug_model.boot import BootLayout
from hotplug_model.bug import REACHED, Bug, Trials, bug_of
from hotplug_model.checker import Checker
from hotplug_model.extents import Sees
from hotplug_model.invariants import INVARIANTS
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.ops.every import Drawn
from hotplug_model.trace import Trace

DEAR = 5
"""As many operations cost about as much to judge by sums as one by walkers."""
WHOLE = 8
"""As many operations cost about as much to judge by sums as one by every invariant."""


class OutOfBudget(Exception):
    """As many operations were tried as may be tried."""


class Suspicion:
    """Judges by a few invariants of a bug, and in full only what breaks just these.

    The few are the bug's own that ask no walker; all of its own if each does. Whatever
    refuted an unjustified suspicion is asked, too, from then on. The budget is in operations,
    not in time, so that what comes of it is the same anywhere.
    """

    def __init__(self, trace: Trace, bug: Bug) -> None:
        self.trace = trace
        self.bug = bug
        self.budget = 0
        """Operations that may still be tried."""
        own = {name for name, _ in bug}
        self._names = {name for name in own if INVARIANTS[name].sees == Sees.ROW} or own
        self.drawn = Drawn()
        self._trials: dict[BootLayout, Trials] = {}
        self._ask()

    def _ask(self) -> None:
        """Settle what is asked, by the names of those that have to be."""
        self._asked = tuple(each for each in INVARIANTS if each.name in self._names)
        self._wanted = frozenset(said for said in self.bug if said[0] in self._names)
        self.dear = any(each.sees > Sees.ROW for each in self._asked)
        """Whether walkers are asked, where there is something that they must not see."""
        self._sound: set[bytes] = set()

    def trials(self, boot: BootLayout) -> Trials:
        """Tries events in full on the machine that boots so."""
        if boot not in self._trials:
            self._trials[boot] = Trials(replace(self.trace, boot=boot), self.bug)
        return self._trials[boot]

    def booted(self, boot: BootLayout) -> Kernel:
        """That machine right after boot."""
        return self.trials(boot).behind(())

    def spend(self, nr: int) -> None:
        """Take *nr* operations from the budget; :class:`OutOfBudget` if it is used up."""
        if self.budget <= 0:
            raise OutOfBudget
        self.budget -= nr

    def breaks(self, kernel: Kernel, op: Op) -> bool:
        """Carry *op* out in place: whether it breaks just what is asked of the bug."""
        self.spend(1)
        checker = Checker(kernel, self.trace.strict, self._sound, REACHED, self._asked)
        found = bug_of(checker.apply(op, self._wanted).violations)
        self.budget -= DEAR - 1 if checker.judged_by_row else 0
        return found == self._wanted

    def show(self, boot: BootLayout, events: Sequence[Op]) -> bool:
        """Whether *events* show the bug, judged in full."""
        trials = self.trials(boot)
        if trials.is_known_to_break(events[:-1]):
            return False
        self.spend(WHOLE)
        shown, sound_before = trials.ends(events), trials.holds(events[:-1])
        if sound_before and shown != self.bug:
            # Who broke besides, or did not: nobody looked for the rest once it was another bug.
            self._names |= {name for name, _ in shown - self.bug or self.bug - shown}
            self._ask()
        return sound_before and shown == self.bug

    def may_show(self, boot: BootLayout, events: Sequence[Op]) -> bool:
        """Whether *events* show the bug; in full only if the last breaks what is asked."""
        self.spend(len(events) - 1)
        kernel = self.trials(boot).behind(events[:-1])
        return self.breaks(kernel, events[-1]) and self.show(boot, events)
