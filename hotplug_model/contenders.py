"""What is raced: on which machines, and which requests of two kinds at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import TypeAlias

from hotplug_model.checker import Checker, Outcome, Violation, carry_out
from hotplug_model.errors import UserError
from hotplug_model.extents import Extents
from hotplug_model.flags import OnlineType
from hotplug_model.kernel import Kernel
from hotplug_model.ops import OPS, Op, drawn_ops
from hotplug_model.ops.every import draws
from hotplug_model.ops.walk import Walk
from hotplug_model.registry import unknown
from hotplug_model.together import may_meet
from hotplug_model.walkers import READERS, Holds, Walker

BUSY = (
    "memremap_pages", "add_memory", "add_memory", "online_memory_block", "pin_pages",
)  # fmt: skip
"""What happens, each as simple as it can be, before the last of the starts."""
HELD = ("add_memory", "pin_pages")
"""What happens before another start where added memory goes online movable: the last page there
is then held, which keeps its block from going offline no longer than that."""
REQUESTS, REQUESTS_IN_A_MATRIX = 3, 2
"""How many requests of a kind are tried: the last, one amid the others, and the first, which
is the simplest; where every pair is raced not that."""

Kinds: TypeAlias = tuple[str, str]
"""Two operations, or a walker and an operation."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A machine on which to race, and how it came about.

    Each pair asks it about the same operations, so it remembers.
    """

    kernel: Kernel
    events: tuple[Op, ...]
    sound: set[bytes] = field(default_factory=set)
    """What checkers of this kernel and geometry have judged sound."""
    most: int = REQUESTS
    """Requests of a kind that are tried."""
    _some: dict[str, list[Op]] = field(default_factory=dict)
    _after: dict[Op, tuple[Kernel, list[Violation]]] = field(default_factory=dict)

    def some(self, name: str) -> list[Op]:
        """A few usual requests of one kind."""
        if name not in self._some:
            self._some[name] = some(self.kernel, name, self.most)
        return self._some[name]

    def after(self, op: Op) -> tuple[Kernel, list[Violation]]:
        """The machine behind *op*, not to be written to, and what did not hold."""
        if op not in self._after:
            checker = Checker(self.kernel.snapshot(), sound=self.sound)
            self._after[op] = checker.kernel, everything(checker.apply(op))
        return self._after[op]


def everything(outcome: Outcome) -> list[Violation]:
    """What did not hold, known or not."""
    return outcome.violations + outcome.known


def every_pair(names: Sequence[str]) -> list[Kinds]:
    """What to race: the pair that is named, or a walker with every operation; with no name
    every two operations, each with itself too, and a walker of each way to walk with every
    operation."""
    known = [*drawn_ops(), *READERS.names()]
    for name in names:
        if name not in known:
            raise UserError(unknown("operation or walker to race", name, known))
    walkers = [name for name in names if name in READERS]
    ops = [name for name in names if name not in READERS]
    if len(names) > 2 or len(walkers) > 1 or (len(names) == 1 and ops):
        raise UserError("race takes two operations, or a walker and perhaps an operation")
    if len(ops) == 2:
        return [(ops[0], ops[1])]
    both = [] if walkers else list(combinations_with_replacement(drawn_ops(), 2))
    return both + [(w, op) for w in walkers or ways_to_walk() for op in ops or drawn_ops()]


def ways_to_walk() -> list[str]:
    """A walker for each thing that one may hold: the others do as it does where they come.

    One that must come to every page is taken first.
    """
    ways: dict[Holds, str] = {}
    for name, walker in sorted(READERS.items(), key=lambda item: not item[1].complete):
        ways.setdefault(walker.holds, name)
    return list(ways.values())


def every_start(booted: Kernel, sound: set[bytes], most: int = REQUESTS) -> Iterator[Start]:
    """Right after boot; one operation of each kind later; and on a busy machine."""
    seen: set[bytes] = set()
    movable = booted.layout.memhp_default_state == OnlineType.MMOP_ONLINE_MOVABLE
    held = (HELD,) if movable else ()
    for names in ((), *((name,) for name in drawn_ops()), BUSY, *held):
        kernel = booted.snapshot()
        events = tuple(carried_out(kernel, names, last=names == HELD))
        state = kernel.fingerprint()
        if len(events) == len(names) and state not in seen:
            seen.add(state)
            yield Start(kernel=kernel, events=events, sound=sound, most=most)


def carried_out(kernel: Kernel, names: Iterable[str], last: bool = False) -> Iterator[Op]:
    """Carry out the simplest operation of each kind, or the *last*, while they succeed."""
    for name in names:
        if not OPS[name].enabled(kernel):
            return
        usual = draws(kernel, OPS[name], 0)
        op = list(usual)[-1] if last else next(usual)
        refusal, _ = carry_out(kernel, op)
        if refusal is not None:
            return
        yield op


def every_request(start: Start, kinds: Kinds) -> list[tuple[Op, Op]]:
    """Requests of two kinds: both drawn here, or either where the other has been."""
    if kinds[0] in READERS:
        ops = start.some(kinds[1])
        return [(walk, op) for op in ops for walk in walks(start.kernel, kinds[0], op)]
    found = dict.fromkeys(here_first(start, *kinds))
    if kinds[0] != kinds[1]:
        found |= {(first, second): None for second, first in here_first(start, *kinds[::-1])}
    return [ops for ops in found if may_meet(*ops)]


def here_first(start: Start, first: str, second: str) -> Iterator[tuple[Op, Op]]:
    """Requests of the first kind here, and of the second here and where that one has been."""
    for op in start.some(first):
        kernel, _ = start.after(op)
        yield from ((op, other) for other in seconds(start, kernel, second))


def seconds(start: Start, after: Kernel, name: str) -> list[Op]:
    """Requests of a kind here, and behind another."""
    return [*start.some(name), *some(after, name, start.most)]


def some(kernel: Kernel, name: str, most: int = REQUESTS) -> list[Op]:
    """A few usual requests of one kind; none where it is not enabled."""
    if not OPS[name].enabled(kernel):
        return []
    drawn = list(dict.fromkeys(draws(kernel, OPS[name], 0)))
    return list(dict.fromkeys((drawn[-1], drawn[len(drawn) // 2], drawn[0])[:most]))


def walks(kernel: Kernel, name: str, op: Op) -> list[Walk]:
    """A walker at the first pfn of those to which it comes that fare alike while *op* runs.

    Those to which nothing happens are left out.
    """
    walker, twin = READERS[name], kernel.snapshot()
    views = [twin.snapshot().extents()]
    carry_out(twin, op, lambda _: views.append(twin.snapshot().extents()))
    views.append(twin.extents())
    alike: dict[tuple[object, ...], int] = {}
    for pfn in sorted({pfn for x in views for pfn in x.start_pfn.tolist()}):
        fate = tuple(instant(x, walker, pfn) for x in views)
        if len(set(fate)) > 1 and any(comes for comes, _ in fate):
            alike.setdefault(fate, pfn)
    return [Walk(name, pfn) for pfn in alike.values()]


def instant(x: Extents, walker: Walker, pfn: int) -> tuple[bool, bytes]:
    """Whether *walker* comes to *pfn* in this view, and all that is kept of the pfn."""
    row = x.row_at(pfn)
    return bool(walker.reads(x)[row]), x.cells[row].tobytes()
