"""A shorter trace of fewer operations, each of a kind that is in the trace or stands for it.

A driver's own operations are often there for what the core of memory hotplug does under them,
and others only for the numbers that come of it: without them, and with other arguments, the
bug is shown sooner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from math import prod

from hotplug_model.boot import BootLayout
from hotplug_model.normal_form import Kinds, Smallest, kinds_in, plain, rank
from hotplug_model.ops import Op
from hotplug_model.ops.every import UNUSUAL
from hotplug_model.suspicion import OutOfBudget, Suspicion
from hotplug_model.trace import Trace

LONGEST = 12
"""Operations of a trace that is tried: each one more doubles the kinds to choose."""


def with_fewer(
    suspicion: Suspicion, trace: Trace, boots: Iterable[BootLayout], budget: int
) -> Trace | None:
    """The first trace shorter than *trace* of some of its kinds: on its own machine, or else on
    one of *boots*, there without unusual choices. Either has the whole budget. For a trace of one
    operation there are searches with all kinds, and of a long one some kinds are too many."""
    if trace.together or not 3 <= len(trace.events) <= LONGEST:
        return None
    others = [boot for boot in boots if boot != trace.boot]
    return on_machines(suspicion, trace, [trace.boot], UNUSUAL, budget) or on_machines(
        suspicion, trace, others, 0, budget
    )


def on_machines(
    suspicion: Suspicion, trace: Trace, boots: list[BootLayout], unusual: int, budget: int
) -> Trace | None:
    """The first on *boots*. Fewer operations are tried before more, of as many those that end as
    the trace does, then those that can be drawn in fewer ways; none that could be drawn, where
    *trace* goes, in more ways than is left of the budget."""
    ways = nr_ways(suspicion, trace, unusual, budget)
    ends = plain(trace.events[-1:]) + kinds_in(trace)[-1:]

    def order(kinds: Kinds) -> tuple[int, bool, int]:
        return len(kinds), kinds[-1] not in ends, nr_of(kinds, ways)

    suspicion.budget = budget
    with suppress(OutOfBudget):
        for kinds in sorted(fewer_kinds(trace), key=order):
            for boot in boots if nr_of(kinds, ways) <= suspicion.budget else ():
                search = Smallest(suspicion, replace(trace, boot=boot), kinds, unusual)
                if found := search.find():
                    return found
    return None


def fewer_kinds(trace: Trace) -> Iterator[Kinds]:
    """Kinds of operations that a shorter trace might have, the last one last; all others in the
    order of the registry."""
    found = dict.fromkeys(
        (*sorted(kinds[:-1], key=rank), kinds[-1])
        for nr in range(1, len(trace.events))
        for some in (plain(trace.events), kinds_in(trace))
        for kinds in combinations(some, nr)
    )
    yield from found


def nr_ways(
    suspicion: Suspicion, trace: Trace, unusual: int, most: int
) -> dict[type[Op], int]:
    """In how many ways each kind can be drawn on the way of *trace*, where it can be in most;
    about *most* if in more."""
    kinds = dict.fromkeys((*plain(trace.events), *kinds_in(trace)))
    trials = suspicion.trials(trace.boot)
    machines = [trials.behind(trace.events[:at]) for at in range(len(trace.events))]
    return {
        kind: max(suspicion.drawn.nr_ops(k, kind, unusual, most) for k in machines)
        for kind in kinds
    }


def nr_of(kinds: Kinds, ways: dict[type[Op], int]) -> int:
    """In how many ways operations of *kinds* can be drawn one after the other."""
    return prod(ways[kind] for kind in kinds)
