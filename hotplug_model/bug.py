"""What makes two counterexamples ones of the same bug, and trying events for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from hotplug_model.checker import Checker, Violation, carry_out
from hotplug_model.ops import Op
from hotplug_model.trace import Trace

Bug: TypeAlias = frozenset[tuple[str, str]]
"""Invariants that are broken, each with the known defect of mainline that it is an
instance of, or ""."""


def bug_of(violations: Sequence[Violation]) -> Bug:
    """The bug that *violations* are."""
    return frozenset((each.invariant, each.defect or "") for each in violations)


class Trials:
    """Tries other events on the machine of a trace: do they show the same bug?

    The machine is booted once, and what was found sound is remembered. A *hasty* trial judges
    the last event only, which costs a tenth: whether all is well before has to be asked later.
    """

    def __init__(self, trace: Trace, bug: Bug, hasty: bool = False) -> None:
        self.trace = trace
        self.bug = bug
        self.hasty = hasty
        self.shown: list[Trace] = []
        """What :meth:`with_events` made, in this order."""
        self._sound: set[bytes] = set()
        self._booted = trace.machine().kernel

    def machine(self) -> Checker:
        """The machine right after boot."""
        return Checker(self._booted.snapshot(), self.trace.strict, self._sound)

    def broken_by(self, events: Sequence[Op]) -> tuple[int | None, list[Violation]]:
        """Index of the first of *events* that breaks something, and what: as ``replay()``."""
        if self.hasty and events:
            return self.broken_by_last(events)
        checker = self.machine()
        if found := checker.boot():
            return -1, found
        for index, event in enumerate(events):
            if found := checker.apply(event).violations:
                return index, found
        return None, []

    def broken_by_last(self, events: Sequence[Op]) -> tuple[int | None, list[Violation]]:
        """The last index and what that event breaks; nobody looks before."""
        checker = self.machine()
        for event in events[:-1]:
            carry_out(checker.kernel, event)
        found = checker.apply(events[-1]).violations
        return (len(events) - 1 if found else None), found

    def show(self, events: Sequence[Op]) -> bool:
        """Whether the last of *events* shows the bug, and none before shows any."""
        if events:
            # Most trials end here: all events are judged of the others only.
            if bug_of(self.broken_by_last(events)[1]) != self.bug:
                return False
            if self.hasty:
                return True
        index, found = self.broken_by(events)
        return index == len(events) - 1 and bug_of(found) == self.bug

    def with_events(self, trace: Trace, events: Sequence[Op]) -> Trace | None:
        """*trace* with other *events*, if they show the bug."""
        if not self.show(events):
            return None
        self.shown.append(replace(trace, events=tuple(events)))
        return self.shown[-1]
