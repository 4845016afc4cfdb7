"""Every operation that can be drawn in a state, for drivers that try all of them.

What "all" means is exact: each kind that is enabled draws under every sequence of
choices of which at most so many are unusual ones (:class:`~hotplug_model.ops.draw.Rare`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import TypeAlias

from hotplug_model.boot import BootLayout
from hotplug_model.errors import UserError
from hotplug_model.kernel import Kernel
from hotplug_model.ops.draw import Rare
from hotplug_model.ops.faults import allocations
from hotplug_model.ops.op import Op, drawn_ops, ops_on_request
from hotplug_model.registry import unknown
from hotplug_model.state.faults import Allocation, spell

UNUSUAL = 1
"""Unusual choices an operation: two at once are left to random search."""


Drawing: TypeAlias = tuple[BootLayout, bytes, type[Op], int, bool]
"""What is drawn depends on the layout, the fingerprint, the kind, and on what is asked for."""


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


def every_op(
    kernel: Kernel, kinds: Sequence[type[Op]], unusual: int = UNUSUAL, faults: bool = False
) -> Iterator[Op]:
    """Every operation of *kinds* that can be drawn in this state, each once, simplest first.

    At most *unusual* of its choices are unusual ones. With *faults* each comes once more
    for every single allocation that it makes, which then fails. Always in the same order.
    """
    found: set[Op] = set()
    for cls in kinds:
        if cls.enabled(kernel):
            for op in draws(kernel, cls, unusual):
                if op not in found:
                    found.add(op)
                    yield op
                    if faults:
                        yield from every_fault(op, allocations(kernel, op))


class Drawn:
    """What :func:`every_op` gives, remembered for searches that come back to a state."""

    MOST = 200
    """States and kinds to remember."""

    def __init__(self) -> None:
        self._begun: dict[Drawing, tuple[list[Op], Iterator[Op]]] = {}

    def every_op(
        self, kernel: Kernel, kinds: Sequence[type[Op]], unusual: int, faults: bool = False
    ) -> Iterator[Op]:
        """The same, in the same order. Nothing is drawn that nobody asks for."""
        # Machines that boot otherwise may have the same fingerprint, and draw something else.
        here, kernel = kernel.fingerprint(), kernel.snapshot()
        for kind in kinds:
            key = kernel.layout, here, kind, unusual, faults
            if key not in self._begun:
                if len(self._begun) >= self.MOST:
                    self._begun.clear()
                self._begun[key] = [], every_op(kernel, (kind,), unusual, faults)
            drawn, rest = self._begun[key]
            for at in count():
                if at == len(drawn):
                    drawn.extend(islice(rest, 1))
                if at == len(drawn):
                    break
                yield drawn[at]

    def nr_ops(self, kernel: Kernel, kind: type[Op], unusual: int, most: int) -> int:
        """How many of a kind there are; more than *most* are not counted."""
        return len([*islice(self.every_op(kernel, (kind,), unusual), most + 1)])


def every_fault(op: Op, made: Counter[Allocation]) -> Iterator[Op]:
    """*op* once for each allocation of those that it makes, with that one failing."""
    for kind, nr in made.items():
        for nth in range(nr):
            yield replace(op, fail_at=spell(kind, nth))


def draws(kernel: Kernel, cls: type[Op], unusual: int = UNUSUAL) -> Iterator[Op]:
    """What *cls* draws under every sequence of choices, counted up like an odometer."""
    script: list[int] = []
    while True:
        chooser = ScriptedChooser(script)
        op = cls.draw(kernel, chooser)
        if chooser.nr_rare <= unusual:
            yield op
        script, options = chooser.choices, chooser.options
        if chooser.nr_rare > unusual:
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


def kinds_named(names: Sequence[str]) -> tuple[type[Op], ...]:
    """The kinds of operations with these names, in the order of the registry; all if none.

    :class:`UserError` for a name that is none, or of what is never drawn.
    """
    known = drawn_ops() | ops_on_request()
    for name in names:
        if name not in known:
            raise UserError(unknown("operation to draw", name, known))
    return tuple(cls for name, cls in known.items() if not names or name in names)
