"""Every schedule of operations in flight together, up to a number of switches.

Operations are generators and cannot be copied, so each schedule starts over. What makes
that bearable: only what comes behind the last switch is looked at, for a schedule with a
switch less has passed the rest; and a state that was passed with the same operations at
the same milestones, the same locks held and the same one going on leads to nothing new.
"""

from __future__ import annotations

import hashlib
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
        """Every schedule with *nr* switches, one at least, and what does not hold in it."""
        self._passed.clear()
        yield from self._extended((), nr)

    def _extended(self, turns: Turns, more: int) -> Iterator[tuple[Turns, list[Violation]]]:
        for number in (0, 1) if not turns else (1 - turns[-1][0],):
            for nr in count(1):
                longer = (*turns, (number, nr))
                contexts = Contexts(self.start.snapshot(), self.ops)
                try:
                    if not reaches(contexts, longer):
                        break
                    found = self._end(contexts, number) if more == 1 else []
                finally:
                    contexts.close()
                if more == 1:
                    yield longer, found
                else:
                    yield from self._extended(longer, more - 1)

    def _end(self, contexts: Contexts, last: int) -> list[Violation]:
        """What does not hold from here on, everybody running to the end."""
        self.nr_tried += 1
        kernel = contexts.kernel
        if self._been_at(contexts, 1 - last):
            return []
        checker = Checker(kernel, sound=self.sound)
        found: list[Violation] = []
        for milestone in contexts.finish(last):
            if self._been_at(contexts, contexts.running):
                return found
            self.nr_looks += 1
            found += checker.look(milestone)
        self.nr_looks += 1
        kernel.pfns.merge()
        kernel.vmemmap.merge()
        return found + checker.look(QUIESCENT)

    def _been_at(self, contexts: Contexts, going: int) -> bool:
        """Whether a schedule has been here before; now one has."""
        if not self.reduced:
            return False
        place = place_of(contexts, going)
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


def place_of(contexts: Contexts, going: int) -> Place:
    """What decides how things go on: the state, and how far who is."""
    kernel = contexts.kernel
    state = hashlib.blake2b(kernel.fingerprint(), digest_size=16).digest()
    held = kernel.locks.place(), kernel.rcu.place()
    return state, held, going, *((c.passed, c.at) for c in contexts.all)
