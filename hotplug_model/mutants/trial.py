"""Trying mutants: short seeded walks on mainline with one mistake in it."""

from __future__ import annotations

import contextlib
import signal
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import TypeAlias

from hotplug_model.boot import every_layout
from hotplug_model.changes import KernelVariant
from hotplug_model.coverage import Coverage
from hotplug_model.errors import UserError
from hotplug_model.fates import EVERYWHERE
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.invariants import SOMETIMES
from hotplug_model.mutants.reach import Line, watched
from hotplug_model.mutants.source import Mutant, is_possible, mutated, running
from hotplug_model.walk import RandomWalk, WalkRequest

SCENES = EVERYWHERE
"""Geometries to walk on: one for each way to map vmemmap."""
LOOKED_THROUGH = ("state/", "mm/pfn_to_online_page.py", "mm/base_memory.py")
"""What invariants and walkers call themselves: what was judged sound without a mistake in
one of these need not be so with it."""
PATIENCE_SECONDS = 10.0
"""CPU time after which an example does not end; the slowest one takes about half a second."""
Example: TypeAlias = tuple[int, str]
"""Number and geometry."""


class NeverEnds(BaseException):
    """An example used up its CPU time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a mutant."""

    mutant: str
    verdict: str
    """``killed``, ``crashed``, ``not reached`` or ``survived``."""
    by: tuple[str, ...] = ()
    """The invariants that killed it, or what it crashed with."""
    steps: int = 0
    """Operations that it was given."""
    differs: bool = False
    """Whether a survivor was seen to do anything that mainline does not."""


@dataclass(slots=True, kw_only=True)
class Trials:
    """Mainline's own walk, and trials of mutants on the parts of it that reach them."""

    seed: int = 0
    steps: int = 1000
    """Operations that a mutant is given, and that mainline walks on each geometry."""
    _reaching: dict[Line, list[Example]] = field(default_factory=dict)
    _mainline: dict[Example, Coverage] = field(default_factory=dict)
    _sound: dict[str, set[bytes]] = field(default_factory=dict)
    _requests: dict[str, WalkRequest] = field(default_factory=dict)
    _unsound: set[str] = field(default_factory=set)
    """What mainline itself breaks: then every mutant would be killed by that."""

    def prepare(self) -> None:
        """Walk on mainline, and see which examples reach what."""
        for geometry in SCENES:
            sizes = GEOMETRIES[geometry]
            self._sound[geometry] = set()
            self._requests[geometry] = WalkRequest(
                variant=KernelVariant(), geometry=geometry, steps=self.steps * len(SCENES),
                layouts={name: make(sizes) for name, make in every_layout()}, faults=True,
                seed=self.seed,
            )  # fmt: skip
        with watched() as reached:
            for example in self.examples():
                reached.clear()
                broken, self._mainline[example] = self._walk(example, self._sound[example[1]])
                self._unsound.update(broken)
                for line in reached:
                    self._reaching.setdefault(line, []).append(example)

    def examples(self) -> Iterator[Example]:
        """All of them, on one geometry after the other."""
        nr_examples = self._requests[SCENES[0]].nr_examples
        return ((number, SCENES[number % len(SCENES)]) for number in range(nr_examples))

    def judge(self, mutant: Mutant) -> Verdict:
        """Walk with the mistake until an invariant notices it. :class:`UserError` if mainline
        is at fault without any."""
        if self._unsound:
            names = ", ".join(sorted(self._unsound))
            raise UserError(f"mutate: mainline itself breaks {names}; mend that first")
        examples = self._reaching.get((mutant.file, mutant.line), [])
        code = mutated(mutant)
        if not is_possible(mutant, code):
            return Verdict(mutant=mutant.name, verdict="crashed", by=("does not fit",))
        if not examples:
            return Verdict(mutant=mutant.name, verdict="not reached")
        kept = {} if mutant.file.startswith(LOOKED_THROUGH) else self._sound
        sound = {name: set(kept.get(name, ())) for name in SCENES}
        steps, differs = 0, False
        with running(mutant.file, [mutant.function], code):
            for example in examples:
                try:
                    with limited():
                        broken, seen = self._walk(example, sound[example[1]])
                except (Exception, NeverEnds) as error:
                    by = (type(error).__name__,)
                    return Verdict(mutant=mutant.name, verdict="crashed", by=by, steps=steps)
                steps += seen.steps
                if broken:
                    return Verdict(mutant=mutant.name, verdict="killed", by=broken, steps=steps)
                differs |= seen != self._mainline[example]
                if steps >= self.steps:
                    break
        return Verdict(mutant=mutant.name, verdict="survived", steps=steps, differs=differs)

    def _walk(self, example: Example, sound: set[bytes]) -> tuple[tuple[str, ...], Coverage]:
        """The invariants that one example breaks, and what else was to be seen."""
        number, geometry = example
        coverage = Coverage(reached=set(SOMETIMES.names()))
        walking = RandomWalk(request=self._requests[geometry], coverage=coverage, _sound=sound)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of NumPy, about numbers that make no sense
            found = walking.example(number)
        return (found.violates if found else ()), coverage


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """What takes too much CPU time raises :class:`NeverEnds`; only in a main thread."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise NeverEnds

    old = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)
