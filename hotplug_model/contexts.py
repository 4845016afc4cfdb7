"""Several operations in flight: each is a context, and a schedule says who goes when.

Contexts are left and entered at milestones only, as if each ran on a CPU of its own and
the others came in where they could look. One that needs a lock which another holds
passes its turn; if all that are left do so, nobody will ever go on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import TYPE_CHECKING, TypeAlias

from hotplug_model.errors import KernelRefusal, ModelError
from hotplug_model.kernel import Kernel
from hotplug_model.rules import Steps
from hotplug_model.state.faults import Faults
from hotplug_model.state.ledger import Cause, Law
from hotplug_model.state.locks import Waits

if TYPE_CHECKING:
    from hotplug_model.ops.op import Op

Turn: TypeAlias = tuple[int, ...]
"""A context's number, and how many milestones it passes before another goes on."""
RETURNS = "returns"
"""The milestone behind a context's last one: its operation has succeeded."""
WAITS = "waits for "
"""What begins the milestone at which an operation cannot go on. It does not count."""
DEADLOCK = "deadlock"
"""The milestone at which everybody waits."""


@dataclass(slots=True)
class Context:
    """An operation in flight, with what the kernel keeps for a running one."""

    number: int
    op: Op
    steps: Steps
    faults: Faults = field(default_factory=Faults)
    cause: Cause = Cause.NONE
    done: bool = False
    passed: int = 0
    """How many milestones it is past."""
    at: str = ""
    """The last of them."""
    waits: bool = False
    """Whether it could not go on when it was last asked to."""

    @property
    def name(self) -> str:
        """A, B, C and so on, in the order in which they were started."""
        return ascii_uppercase[self.number]


class Contexts:
    """The operations of one interleaving on one machine."""

    def __init__(self, kernel: Kernel, ops: Sequence[Op]) -> None:
        self.kernel = kernel
        self.running = -1
        """Who passed a milestone last."""
        self.all = [Context(number, op, op.steps(kernel)) for number, op in enumerate(ops)]
        for context in self.all:
            context.faults.arm(context.op.fail_at)

    def run(self, turns: Sequence[Turn]) -> Steps:
        """Everybody to the end: first in *turns*, then one after the other.

        The context behind the one whose turn was last goes first. Milestones say whose
        they are.
        """
        last = -1
        for last, nr_milestones in turns:
            yield from self._go_on(self.all[last], nr_milestones)
        yield from self.finish(last)

    def finish(self, last: int) -> Steps:
        """Everybody to the end, the context behind *last* first."""
        while left := [context for context in self.all if not context.done]:
            if all(context.waits for context in left):
                yield self.deadlock(left)
                return
            going = min(left, key=lambda c: (c.waits, (c.number - last - 1) % len(self.all)))
            yield from self._go_on(going, sys.maxsize)

    def _go_on(self, context: Context, nr_milestones: int) -> Steps:
        """Let one context pass so many milestones; it says so if it has to wait."""
        for _ in range(nr_milestones):
            milestone = self.advance(context)
            if milestone is None:
                break
            yield milestone
        if context.waits:
            waiting = self.kernel.locks.waiting[context.number]
            yield f"{context.name}: {WAITS}{waiting}"

    def advance(self, context: Context) -> str | None:
        """Let one context pass a milestone; None if it has returned or has to wait."""
        if context.done:
            return None
        self.running = context.number
        with self._current(context):
            milestone = self._next(context)
        context.waits = type(milestone) is Waits
        if context.waits:
            return None
        for other in self.all:
            other.waits = False
        context.passed += 1
        context.at = milestone
        return f"{context.name}: {milestone}"

    def close(self) -> None:
        """Nobody goes on; what they hold is dropped."""
        for context in self.all:
            with self._current(context):
                context.steps.close()

    def deadlock(self, left: list[Context]) -> str:
        """Write down who waits for whom."""
        locks, ledger = self.kernel.locks, self.kernel.ledger
        live = {context.number for context in left}
        if any(not locks.blockers(locks.waiting[c.number]) & live for c in left):
            raise ModelError("an operation waits for a lock that nobody will drop")
        before, ledger.operation = ledger.operation, "; ".join(map(self._chain, left))
        ledger.breach(Law.CYCLE_OF_WAITS, self.kernel.geometry.all_pfns)
        ledger.operation = before
        return DEADLOCK

    def _chain(self, context: Context) -> str:
        """What a context holds, and what it waits for."""
        locks = self.kernel.locks
        held = ", ".join(locks.held_by(context.number)) or "nothing"
        waits = locks.waiting[context.number]
        holders = " and ".join(self.all[nr].name for nr in sorted(locks.blockers(waits)))
        return f"{context.name}, {context.op}, holds {held} and waits for {waits} of {holders}"

    def _next(self, context: Context) -> str:
        try:
            return next(context.steps)
        except StopIteration:
            context.done = True
            return RETURNS
        except KernelRefusal as refusal:
            context.done = True
            return f"returns {refusal}"

    @contextmanager
    def _current(self, context: Context) -> Iterator[None]:
        """What belongs to a running operation belongs to *context*."""
        kernel, ledger = self.kernel, self.kernel.ledger
        saved = kernel.faults, ledger.operation, ledger.cause, kernel.locks.context
        kernel.faults, ledger.operation = context.faults, context.op
        ledger.cause, kernel.locks.context = context.cause, context.number
        try:
            yield
        finally:
            context.cause = ledger.cause
            kernel.faults, ledger.operation, ledger.cause, kernel.locks.context = saved
