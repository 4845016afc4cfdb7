"""Exhaustive search, a breadth at a time: what the shortest counterexample is, proven.

Every operation that could be drawn in a state is tried, by running its draw() through
every sequence of choices. States that were seen before are not tried again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hotplug_model.checker import Checker
from hotplug_model.kernel import Kernel
from hotplug_model.ops import OPS, Op
from hotplug_model.ops.draw import Rare
from hotplug_model.trace import Trace, broken

MAX_RARE = 1
"""Unusual choices an operation: two at once are left to random search."""


class ScriptedChooser:
    """A :class:`~hotplug_model.ops.Chooser` that follows a script, then chooses 0."""

    def __init__(self, script: list[int]) -> None:
        self.choices: list[int] = []
        self.options: list[int] = []
        self.nr_rare = 0
        self._script = script

    def index(self, n: int) -> int:
        """The next choice of the script, 0 behind its end."""
        at = len(self.choices)
        choice = self._script[at] if at < len(self._script) else 0
        self.choices.append(choice)
        self.options.append(2 if isinstance(n, Rare) else n)
        if isinstance(n, Rare) and choice:
            self.nr_rare += 1
            return n - 1
        return choice


def every_op(kernel: Kernel) -> Iterator[Op]:
    """Every operation that can be drawn in this state, each once, simplest first.

    At most MAX_RARE of an operation's choices are unusual ones.
    """
    found: set[Op] = set()
    for cls in OPS:
        if cls.enabled(kernel):
            for op in draws(kernel, cls):
                if op not in found:
                    found.add(op)
                    yield op


def draws(kernel: Kernel, cls: type[Op]) -> Iterator[Op]:
    """What *cls* draws under every sequence of choices, counted up like an odometer."""
    script: list[int] = []
    while True:
        chooser = ScriptedChooser(script)
        op = cls.draw(kernel, chooser)
        if chooser.nr_rare <= MAX_RARE:
            yield op
        script, options = chooser.choices, chooser.options
        if chooser.nr_rare > MAX_RARE:
            # Nothing behind the choice that was one too many needs to be tried.
            script = script[: last_rare(script, options)]
        while script and script[-1] + 1 == options[len(script) - 1]:
            script = script[:-1]
        if not script:
            return
        script = [*script[:-1], script[-1] + 1]


def last_rare(script: list[int], options: list[int]) -> int:
    """Length of *script* up to and with its last choice that is not the simplest."""
    return max(i for i, choice in enumerate(script) if choice and options[i] == 2) + 1


def shortest(machine: Trace, depth: int) -> Trace | None:
    """A shortest trace of at most *depth* events that breaks something; None: there is none.

    *machine* says which kernel and boot layout; its events are not looked at.
    """
    booted = machine.machine()
    if found := booted.boot():
        return replace(machine, events=(), violates=broken(found))
    sound: set[bytes] = set()
    frontier: list[tuple[Kernel, tuple[Op, ...]]] = [(booted.kernel, ())]
    seen = {booted.kernel.fingerprint()}
    for _ in range(depth):
        deeper: list[tuple[Kernel, tuple[Op, ...]]] = []
        for kernel, events in frontier:
            for op in every_op(kernel):
                checker = Checker(kernel.snapshot(), machine.strict, sound)
                outcome = checker.apply(op)
                if outcome.violations:
                    path = (*events, op)
                    return replace(machine, events=path, violates=broken(outcome.violations))
                state = checker.kernel.fingerprint()
                if state not in seen:
                    seen.add(state)
                    deeper.append((checker.kernel, (*events, op)))
        frontier = list(deeper)
    return None
