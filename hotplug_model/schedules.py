"""Every schedule of operations in flight together, up to a number of switches.

Operations are generators and cannot be copied, so each schedule starts over. What makes
that bearable: only what comes behind the last switch is looked at, for a schedule with a
switch less has passed the rest; and a state that was passed with the same operations at
the same milestones, the same locks held and the same one going on leads to nothing new.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import TypeAlias

from hotplug_model.checker import QUIESCENT, Checker, Violation
from hotplug_model.contexts import Contexts, Turn
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op

Turns: TypeAlias = tuple[Turn, ...]
Place: TypeAlias = tuple[object, ...]


@dataclass(slots=True)
class Schedules:
    """Two operations on a machine, in every order."""

    start: Kernel
    ops: tuple[Op, Op]
    sound: set[bytes]
    """What checkers of this kernel and geometry have judged sound."""
    reduced: bool = True
    """Whether a place that was passed before is passed again."""
    nr_tried: int = 0
    nr_looks: int = 0
    """At how many milestones every invariant was evaluated."""
    _passed: set[Place] = field(default_factory=set)

    def with_switches(self, nr: int) -> Iterator[tuple[Turns, list[Violation]]]:
        """Every schedule with *nr* switches, one at least, and what does not hold in it
        that was not said before."""
        yield from self._extended((), nr)

    def _extended(self, turns: Turns, more: int) -> Iterator[tuple[Turns, list[Violation]]]:
        """What *turns* begin: one scout goes from milestone to milestone, and starts over
        only behind a schedule that it saw to its end."""
        for number in (0, 1) if not turns else (1 - turns[-1][0],):
            scout = None
            try:
                for nr in count(1):
                    longer = (*turns, (number, nr))
                    if scout is None:
                        scout = Contexts(self.start.snapshot(), self.ops)
                        there = reaches(scout, longer)
                    else:
                        there = reaches(scout, ((number, 1),))
                    if not there:
                        break
                    if more > 1:
                        yield from self._extended(longer, more - 1)
                        continue
                    self.nr_tried += 1
                    checker = Checker(scout.kernel, sound=self.sound)
                    if self._been_at(checker.take_state(), scout, 1 - number):
                        yield longer, []
                        continue
                    found = self._end(checker, scout, number)
                    scout.close()
                    scout = None
                    yield longer, found
            finally:
                if scout is not None:
                    scout.close()

    def _end(self, checker: Checker, contexts: Contexts, last: int) -> list[Violation]:
        """What does not hold from here on, everybody running to the end."""
        kernel = contexts.kernel
        found: list[Violation] = []
        for milestone in contexts.finish(last):
            state = checker.take_state()
            if self._been_at(state, contexts, contexts.running):
                return found
            self.nr_looks += 1
            found += checker.look(milestone, state)
        self.nr_looks += 1
        kernel.pfns.merge()
        kernel.vmemmap.merge()
        return found + checker.look(QUIESCENT)

    def _been_at(self, state: bytes, contexts: Contexts, going: int) -> bool:
        """Whether a schedule has been here before; now one has."""
        if not self.reduced:
            return False
        place = place_of(state, contexts, going)
        been = place in self._passed
        self._passed.add(place)
        return been


def reaches(contexts: Contexts, turns: Turns) -> bool:
    """Pass the milestones of *turns*: True if nobody waits or returns on the way."""
    for number, nr in turns:
        context = contexts.all[number]
        for _ in range(nr):
            if contexts.advance(context) is None or context.done:
                return False
    return True


def place_of(state: bytes, contexts: Contexts, going: int) -> Place:
    """What decides how things go on: the state, who holds what, how far who is, and who
    has just found that he has to wait."""
    kernel = contexts.kernel
    held = kernel.locks.place(), kernel.rcu.place()
    return state, held, going, *((c.passed, c.at, c.waits) for c in contexts.all)
