"""What makes two counterexamples ones of the same bug, and trying events for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import TypeAlias

from hotplug_model.checker import Checker, Said, Violation, carry_out
from hotplug_model.invariants import INVARIANTS, SOMETIMES
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.trace import Trace

Bug: TypeAlias = frozenset[Said]
"""Invariants that are broken, each with the known defect of mainline that it is an
instance of, or ""."""


REACHED = set(SOMETIMES.names())
"""All ``sometimes`` properties, as if each had been reached: trials do not look for them."""


def bug_of(violations: Sequence[Violation]) -> Bug:
    """The bug that *violations* are."""
    return frozenset(each.said for each in violations)


def both_are_one(pair: tuple[Op, Op]) -> bool:
    """Whether a pair holds the very same operation twice."""
    return pair[0] is pair[1]


class Trials:
    """Tries other events on the machine of a trace: do they show the same bug?

    The machine is booted once, trials that begin alike do so once, and what was found sound is
    remembered. A *hasty* trial judges the last event only, which costs a tenth: whether all is
    well before has to be asked later.
    """

    def __init__(self, trace: Trace, bug: Bug, hasty: bool = False) -> None:
        self.trace = trace
        self.bug = bug
        self.hasty = hasty
        self.shown: list[Trace] = []
        """What :meth:`with_events` made, in this order."""
        self._sound: set[bytes] = set()
        self._sound_of_own: set[bytes] = set()
        self._way: list[Op] = []
        self._behind = [trace.machine().kernel]
        """The machine right after boot, and behind each operation of the way taken last."""
        self._nr_sound = 0
        """So many operations of that way are known to break nothing, and if any is, the boot."""
        self._held: dict[tuple[Op, ...], bool] = {}

    def machine(self, events: Sequence[Op] = ()) -> Checker:
        """The machine behind *events*, at which nobody looked."""
        return Checker(self.behind(events), self.trace.strict, self._sound, REACHED)

    def behind(self, events: Sequence[Op]) -> Kernel:
        """The same without a checker. What was carried out last need not be done again."""
        same = self.shared(events)
        del self._way[same:], self._behind[same + 1 :]
        self._nr_sound = min(self._nr_sound, same)
        kernel = self._behind[-1].snapshot()
        for event in events[same:]:
            carry_out(kernel, event)
            self._way.append(event)
            self._behind.append(kernel.snapshot())
        return kernel

    def shared(self, events: Sequence[Op]) -> int:
        """How many of *events* the way taken last begins with."""
        return sum(1 for _ in takewhile(both_are_one, zip(self._way, events, strict=False)))

    def broken_by_last(
        self, events: Sequence[Op], wanted: Bug | None = None
    ) -> list[Violation]:
        """What the last of *events* breaks, or what of it is not *wanted*; nobody looks before."""
        return self.machine(events[:-1]).apply(events[-1], wanted).violations

    def show(self, events: Sequence[Op]) -> bool:
        """Whether the last of *events* shows the bug, and none before shows any."""
        if not events:
            shown = bug_of(self.asking_its_own().boot())
            return shown == self.bug == bug_of(self.machine().boot())
        if not self.may_end(events) or self.ends(events) != self.bug:
            return False
        return self.hasty or self.holds(events[:-1])

    def may_end(self, events: Sequence[Op]) -> bool:
        """Whether the last of *events* breaks what the bug does, if maybe more: most trials end
        here."""
        checker = self.asking_its_own(events[:-1])
        return bug_of(checker.apply(events[-1], self.bug).violations) == self.bug

    def asking_its_own(self, events: Sequence[Op] = ()) -> Checker:
        """The machine behind *events*, asked about what the bug breaks."""
        own = [each for each in INVARIANTS if any(each.name == name for name, _ in self.bug)]
        kernel = self.behind(events)
        return Checker(kernel, self.trace.strict, self._sound_of_own, REACHED, own)

    def ends(self, events: Sequence[Op]) -> Bug:
        """What the last of *events* breaks; if it is not the bug, perhaps only part of it."""
        return bug_of(self.broken_by_last(events, self.bug))

    def holds(self, events: Sequence[Op]) -> bool:
        """Whether neither the boot nor one of *events* breaks anything. Many traces begin alike:
        they are judged once."""
        events = tuple(events)
        if events not in self._held:
            begin = min(self.shared(events), self._nr_sound)
            checker = self.machine(events[:begin])
            self._held[events] = bool(begin or not checker.boot()) and all(
                self._is_sound(checker, event) for event in events[begin:]
            )
        return self._held[events]

    def _is_sound(self, checker: Checker, event: Op) -> bool:
        """Carry *event* out, on the way that is taken: whether it breaks nothing."""
        if checker.apply(event, ()).violations:
            return False
        self._way.append(event)
        self._behind.append(checker.kernel.snapshot())
        self._nr_sound += 1
        return True

    def is_known_to_break(self, events: Sequence[Op]) -> bool:
        """Whether :meth:`holds` has said no of *events*."""
        return not self._held.get(tuple(events), True)

    def with_events(self, trace: Trace, events: Sequence[Op]) -> Trace | None:
        """*trace* with other *events*, if they show the bug."""
        if not self.show(events):
            return None
        self.shown.append(replace(trace, events=tuple(events)))
        return self.shown[-1]
