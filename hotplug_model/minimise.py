"""Making a counterexample shorter under one fixed violation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from hotplug_model.ops import Op
from hotplug_model.ops.interleave import Interleave
from hotplug_model.state.faults import parse, spell
from hotplug_model.trace import Trace, breaks_the_same, replay


def minimise(trace: Trace) -> Trace:
    """Drop every event whose absence still breaks the same invariants, and only at the end.

    A shorter trace of another bug is not accepted. Events are dropped from the end to
    the front, over and over until nothing more goes: later ones need earlier ones. Of
    allocations that fail likewise those go that need not, and others fail earlier. Of
    operations that were interleaved one may do, or fewer or earlier switches.
    """
    index, _ = replay(trace)
    if index is None:
        return trace
    trace = replace(trace, events=trace.events[: index + 1])
    while simpler := drop_one(trace) or simplify_one(trace):
        trace = simpler
    return trace


def drop_one(trace: Trace) -> Trace | None:
    """*trace* without the last event that it can do without; None if it needs all."""
    for index in reversed(range(len(trace.events) - 1)):
        shorter = replace(trace, events=trace.events[:index] + trace.events[index + 1 :])
        if breaks_the_same(shorter):
            return shorter
    return None


def simplify_one(trace: Trace) -> Trace | None:
    """*trace* with one event made simpler; None if each must be as it is."""
    for index, event in reversed(list(enumerate(trace.events))):
        for simpler in simpler_events(event):
            events = (*trace.events[:index], simpler, *trace.events[index + 1 :])
            shorter = replace(trace, events=events)
            if breaks_the_same(shorter):
                return shorter
    return None


def simpler_events(event: Op) -> Iterator[Op]:
    """What to try instead of *event*, the simplest first."""
    yield from (replace(event, fail_at=fail_at) for fail_at in simpler_faults(event.fail_at))
    if not isinstance(event, Interleave):
        return
    yield from event.contexts
    if len(event.contexts) > 2:
        yield from (without(event, number) for number in range(len(event.contexts)))
    yield from simpler_schedules(event)
    for number, op in enumerate(event.contexts):
        for simpler in simpler_events(op):
            contexts = (*event.contexts[:number], simpler, *event.contexts[number + 1 :])
            yield replace(event, contexts=contexts)


def without(event: Interleave, gone: int) -> Interleave:
    """*event* without one of its operations, and without that one's turns."""
    contexts = event.contexts[:gone] + event.contexts[gone + 1 :]
    turns = tuple((n - (n > gone), nr) for n, nr in event.turns if n != gone)
    return replace(event, contexts=contexts, turns=turns)


def simpler_schedules(event: Interleave) -> Iterator[Interleave]:
    """The same operations with a switch less; then with one that comes earlier."""
    for index, ((number, nr), (other, more)) in enumerate(pairwise(event.turns)):
        if number == other:
            joined = (number, nr + more)
            yield replace(event, turns=(*event.turns[:index], joined, *event.turns[index + 2 :]))
    for index in range(len(event.turns)):
        yield replace(event, turns=event.turns[:index] + event.turns[index + 1 :])
    for index, (number, nr) in enumerate(event.turns):
        for step in range(1, nr.bit_length()):
            turn = (number, nr - (nr >> step))
            yield replace(event, turns=(*event.turns[:index], turn, *event.turns[index + 1 :]))


def simpler_faults(fail_at: str | None) -> Iterator[str | None]:
    """What to try instead, the simplest first: no fault, the first, then in half the way,
    a quarter of it, and so on."""
    if fail_at is None:
        return
    yield None
    kind, nth = parse(fail_at)
    for step in range(nth.bit_length()):
        yield spell(kind, nth - (nth >> step))
