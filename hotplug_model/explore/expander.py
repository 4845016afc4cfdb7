"""Tries every operation in a state, and judges what comes of each."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hotplug_model.checker import Checker, carry_out
from hotplug_model.explore.space import Path, Space
from hotplug_model.invariants import SOMETIMES
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.ops.every import every_op, kinds_named
from hotplug_model.symmetry import canonical, equal_sections
from hotplug_model.trace import Trace, broken

MAX_REMEMBERED = 1 << 18
"""Verdicts and renumberings to remember; then all are forgotten, which costs time only."""
MAX_REACHED = 64
"""States of which the machine itself is kept, too: the parents of those that come next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """What came of all operations in one state."""

    tried: int
    """Operations."""
    new: tuple[tuple[int, bytes], ...]
    """States that differ from this one: the first operation that leads there, and the
    fingerprint."""
    violating: int | None = None
    """The operation that broke something; those behind it were not tried."""
    broken: tuple[str, ...] = ()
    """What it broke."""
    known: Counter[str] = field(default_factory=Counter)
    """Known defects of mainline, and how often they showed."""


class Expander:
    """Tries all operations in the states that it is told, in one process.

    *meanwhile* is called before each of them, and may end it all by an exception.
    """

    def __init__(self, space: Space, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.space = space
        self.meanwhile = meanwhile
        self.kinds = kinds_named(space.ops)
        self._sound: set[bytes] = set()
        self._reached: OrderedDict[Path, tuple[Kernel, tuple[Op, ...]]] = OrderedDict()
        self._sections: dict[int, list[int]] = {}
        self._canonical: dict[bytes, bytes] = {}

    def expand(self, path: Path) -> Expansion:
        """Try every operation in the state that *path* leads to."""
        kernel, ops = self.reach(path)
        for remembered in (self._sound, self._canonical):
            if len(remembered) > MAX_REMEMBERED:
                remembered.clear()
        new: dict[bytes, int] = {}
        known: Counter[str] = Counter()
        for index, op in enumerate(ops):
            self.meanwhile()
            checker = self.checker(kernel.snapshot())
            outcome = checker.apply(op)
            known.update({v.defect for v in outcome.known if v.defect})
            if not outcome.violations:
                new.setdefault(self.fingerprint(path[0], checker.kernel), index)
            elif self.space.violates in (None, broken(outcome.violations)):
                return Expansion(
                    tried=index + 1, new=in_order_found(new), violating=index,
                    broken=broken(outcome.violations), known=known,
                )  # fmt: skip
        return Expansion(tried=len(ops), new=in_order_found(new), known=known)

    def reach(self, path: Path) -> tuple[Kernel, tuple[Op, ...]]:
        """The machine that *path* leads to, and what can be drawn there."""
        if path not in self._reached:
            kernel = self.state(path)
            ops = every_op(kernel, self.kinds, self.space.unusual, self.space.faults)
            self._reached[path] = kernel, tuple(ops)
            if len(self._reached) > MAX_REACHED:
                self._reached.popitem(last=False)
        self._reached.move_to_end(path)
        return self._reached[path]

    def state(self, path: Path) -> Kernel:
        """The machine that *path* leads to, without looking at it."""
        if len(path) == 1:
            return self.space.machines[path[0]].machine().kernel
        before, ops = self.reach(path[:-1])
        kernel = before.snapshot()
        carry_out(kernel, ops[path[-1]])
        return kernel

    def checker(self, kernel: Kernel) -> Checker:
        """A checker that does not look for what must be reached."""
        strict = self.space.machines[0].strict
        return Checker(kernel, strict, self._sound, set(SOMETIMES.names()))

    def fingerprint(self, machine: int, kernel: Kernel) -> bytes:
        """16 bytes, the same in any process."""
        plain = digest(machine, kernel.fingerprint())
        if not self.space.symmetry:
            return plain
        # Most operations are refused, or lead where another has led.
        if plain not in self._canonical:
            if machine not in self._sections:
                equal = equal_sections(kernel, self.kinds, self.space.unusual)
                self._sections[machine] = equal
            state = canonical(kernel, self._sections[machine])
            self._canonical[plain] = digest(machine, state)
        return self._canonical[plain]

    def events(self, path: Path) -> tuple[Op, ...]:
        """The operations of *path*."""
        return tuple(self.reach(path[:nr])[1][path[nr]] for nr in range(1, len(path)))

    def reached(self, path: Path) -> Trace:
        """The machine at *path*, with the operations that lead there."""
        return replace(self.space.machines[path[0]], events=self.events(path))

    def trace(self, path: Path, violating: int, names: tuple[str, ...]) -> Trace:
        """The counterexample of the operation that, in the state at *path*, breaks *names*."""
        return replace(self.reached((*path, violating)), violates=names)


def digest(machine: int, state: bytes) -> bytes:
    """16 bytes for a state of a machine."""
    return hashlib.blake2b(state, digest_size=16, key=machine.to_bytes(4, "little")).digest()


def in_order_found(new: dict[bytes, int]) -> tuple[tuple[int, bytes], ...]:
    """What was reached, by operation."""
    return tuple((index, state) for state, index in new.items())
