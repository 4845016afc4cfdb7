"""Breadth first: what the shortest counterexample is, proven.

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

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from hotplug_model.explore.expander import Expander, Expansion
from hotplug_model.explore.space import FULL, Path, Space
from hotplug_model.explore.visited import Visited
from hotplug_model.ops.every import UNUSUAL
from hotplug_model.trace import Trace, broken

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
        state, in the order of the states, reduced to the states that nobody had seen.
        """
        if not self.booted and self.found is None:
            self.boot(expander)
        expand = expanding or (lambda paths: map(expander.expand, paths))
        while self.found is None and self.depth < depth and not self.complete:
            end = self.depths[-1]
            for expansion in expand(map(self.visited.path, range(self.expanded, end))):
                on_expanded(self.merge(expander, expansion))
                if self.found is not None:
                    return self.found
        return self.found

    def merge(self, expander: Expander, expansion: Expansion) -> Expansion:
        """Take in what came of the next state; the same, without the states seen before."""
        self.transitions += expansion.tried
        self.known.update(expansion.known)
        if expansion.violating is not None:
            path = self.visited.path(self.expanded)
            self.found = expander.trace(path, expansion.violating, expansion.broken)
            return replace(expansion, new=())
        add = self.visited.add
        new = tuple((op, state) for op, state in expansion.new if add(self.expanded, op, state))
        self.expanded += 1
        if self.expanded == self.depths[-1]:
            self.depths.append(len(self.visited))
        return replace(expansion, new=new)


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
