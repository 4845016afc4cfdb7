"""Exhaustive search, a breadth at a time: what the shortest counterexample is, proven.

Every operation that can be drawn in a state is tried, and every milestone of it judged.
States that were seen before are not tried again; those that differ in numbering only
count as one. Of a state its fingerprint is kept, and where it came from: the state itself
is made again by replaying the operations that lead to it.

```
states     0 | 1 2 3 4 | 5 6 7 8 9 ...        in the order in which they are found
             depth 1     depth 2
expanded   ^ first to last; so a trace that is found is among the shortest
```
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from hotplug_model.checker import Checker, carry_out
from hotplug_model.invariants import SOMETIMES
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.ops.every import UNUSUAL, every_op, kinds_named
from hotplug_model.symmetry import canonical, equal_sections
from hotplug_model.trace import Trace, broken

MAX_SOUND = 1 << 19
"""Verdicts to remember; then all are forgotten, which costs time, not correctness."""
MAX_REACHED = 64
"""States of which the machine itself is kept, too: the parents of those that come next."""
FULL = 1 << 30
"""Depth of a search that ends when there is nothing new."""

Path: TypeAlias = tuple[int, ...]
"""Which machine, then which operation of those that can be drawn, step by step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What is searched. It alone decides what is found, and in which order."""

    machines: tuple[Trace, ...]
    """One a boot layout; their events are not looked at. All of one kernel and geometry."""
    ops: tuple[str, ...] = ()
    """Kinds of operations; none named means all."""
    unusual: int = UNUSUAL
    """At most so many unusual choices an operation."""
    faults: bool = False
    """Whether each operation is tried with every single allocation failing, too."""
    symmetry: bool = True
    """Whether machines that differ in numbering only count as one."""
    violates: tuple[str, ...] | None = None
    """Look for a violation of exactly these invariants, and pass over any other."""


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
    """Tries all operations in the states that it is told, in one process."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.kinds = kinds_named(space.ops)
        self._sound: set[bytes] = set()
        self._reached: OrderedDict[Path, tuple[Kernel, tuple[Op, ...]]] = OrderedDict()
        self._sections: dict[int, list[int]] = {}

    def expand(self, path: Path) -> Expansion:
        """Try every operation in the state that *path* leads to."""
        kernel, ops = self.reach(path)
        if len(self._sound) > MAX_SOUND:
            self._sound.clear()
        new: dict[bytes, int] = {}
        known: Counter[str] = Counter()
        for index, op in enumerate(ops):
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
        state = kernel.fingerprint()
        if self.space.symmetry:
            if machine not in self._sections:
                equal = equal_sections(kernel, self.kinds, self.space.unusual)
                self._sections[machine] = equal
            state = canonical(kernel, self._sections[machine])
        salt = machine.to_bytes(4, "little")
        return hashlib.blake2b(state, digest_size=16, key=salt).digest()

    def events(self, path: Path) -> tuple[Op, ...]:
        """The operations of *path*."""
        return tuple(self.reach(path[:nr])[1][path[nr]] for nr in range(1, len(path)))


def in_order_found(new: dict[bytes, int]) -> tuple[tuple[int, bytes], ...]:
    """What was reached, by operation."""
    return tuple((index, state) for state, index in new.items())


class Visited:
    """Every state so far: fingerprint, the state before it, the operation in between."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()
        self._parent = array("q")
        self._op = array("q")

    def __len__(self) -> int:
        return len(self._op)

    def add(self, parent: int, op: int, state: bytes) -> bool:
        """Whether *state* is new. The parent of a machine is -1, its *op* its number."""
        if state in self._known:
            return False
        self._known.add(state)
        self._parent.append(parent)
        self._op.append(op)
        return True

    def path(self, number: int) -> Path:
        """How to get to a state."""
        steps: list[int] = []
        while number >= 0:
            steps.append(self._op[number])
            number = self._parent[number]
        return tuple(reversed(steps))


Expanding: TypeAlias = Callable[[Iterable[Path]], Iterator[Expansion]]
"""Expands one state after the other; may look ahead."""


@dataclass(slots=True, kw_only=True)
class Exploration:
    """A search, and how far it has come."""

    space: Space
    visited: Visited = field(default_factory=Visited)
    depths: list[int] = field(default_factory=lambda: [0])
    """Number of the first state of each depth, and last the number behind all states
    whose depth is known for good."""
    expanded: int = 0
    """States of which all operations were tried."""
    transitions: int = 0
    known: Counter[str] = field(default_factory=Counter)
    found: Trace | None = None
    """A shortest counterexample; with it the search is over."""

    @property
    def booted(self) -> bool:
        """Whether the machines have been looked at right after boot."""
        return len(self.depths) > 1

    @property
    def depth(self) -> int:
        """Up to so many operations were all tried."""
        return len(self.depths) - 2

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to try, at any depth."""
        return self.found is None and self.booted and len(self.visited) == self.expanded

    @property
    def frontier(self) -> int:
        """States that are known and not expanded."""
        return len(self.visited) - self.expanded

    def boot(self, expander: Expander) -> None:
        """Look at the machines right after boot."""
        for number, machine in enumerate(self.space.machines):
            checker = machine.machine()
            violations = checker.boot()
            if not violations:
                self.visited.add(-1, number, expander.fingerprint(number, checker.kernel))
            elif self.space.violates in (None, broken(violations)):
                self.found = replace(machine, events=(), violates=broken(violations))
                return
        self.depths.append(len(self.visited))

    def run(
        self,
        expander: Expander,
        depth: int = FULL,
        expanding: Expanding | None = None,
        on_expanded: Callable[[Expansion], None] = lambda expansion: None,
    ) -> Trace | None:
        """Go on to *depth* operations, or to the end; what was found, if anything.

        *expander* boots the machines and makes the trace of what is found; *expanding*
        does the work, in other processes perhaps. *on_expanded* gets what came of each
        state, in the order of the states, before it counts.
        """
        if not self.booted and self.found is None:
            self.boot(expander)
        expand = expanding or (lambda paths: map(expander.expand, paths))
        while self.found is None and self.depth < depth and not self.complete:
            end = self.depths[-1]
            for expansion in expand(map(self.visited.path, range(self.expanded, end))):
                on_expanded(expansion)
                self.merge(expander, expansion)
                if self.found is not None:
                    return self.found
        return self.found

    def merge(self, expander: Expander, expansion: Expansion) -> None:
        """Take in what came of the next state."""
        self.transitions += expansion.tried
        self.known.update(expansion.known)
        if expansion.violating is not None:
            self.found = self.trace(expander, self.expanded, expansion)
            return
        for op, state in expansion.new:
            self.visited.add(self.expanded, op, state)
        self.expanded += 1
        if self.expanded == self.depths[-1]:
            self.depths.append(len(self.visited))

    def trace(self, expander: Expander, number: int, expansion: Expansion) -> Trace:
        """What leads to a violation that an operation commits in a state."""
        return trace_to(expander, self.visited.path(number), expansion)


def trace_to(expander: Expander, path: Path, expansion: Expansion) -> Trace:
    """The counterexample that *expansion* of the state at *path* found."""
    assert expansion.violating is not None
    events = expander.events((*path, expansion.violating))
    machine = expander.space.machines[path[0]]
    return replace(machine, events=events, violates=expansion.broken)


def shortest(
    machine: Trace,
    depth: int,
    violates: tuple[str, ...] | None = None,
    ops: tuple[str, ...] = (),
    unusual: int = UNUSUAL,
    faults: bool = False,
) -> Trace | None:
    """A shortest trace of at most *depth* events that breaks something; None: there is none.

    *machine* says which kernel and boot layout; its events are not looked at. With
    *violates* its last event breaks exactly these invariants, and no other breaks any.
    Operations are those that can be drawn with *unusual* choices, of the kinds *ops*, and
    with *faults* each also with every single allocation failing.
    """
    space = Space(
        machines=(machine,), ops=ops, unusual=unusual, faults=faults, violates=violates
    )
    return Exploration(space=space).run(Expander(space), depth)
