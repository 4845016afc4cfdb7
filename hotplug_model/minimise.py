"""Making a counterexample shorter under one fixed violation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hotplug_model.state.faults import parse, spell
from hotplug_model.trace import Trace, breaks_the_same, replay


def minimise(trace: Trace) -> Trace:
    """Drop every event whose absence still breaks the same invariants, and only at the end.

    A shorter trace of another bug is not accepted. Events are dropped from the end to
    the front, over and over until nothing more goes: later ones need earlier ones. Of
    allocations that fail likewise those go that need not, and others fail earlier.
    """
    index, _ = replay(trace)
    if index is None:
        return trace
    trace = replace(trace, events=trace.events[: index + 1])
    while simpler := drop_one(trace) or simplify_one_fault(trace):
        trace = simpler
    return trace


def drop_one(trace: Trace) -> Trace | None:
    """*trace* without the last event that it can do without; None if it needs all."""
    for index in reversed(range(len(trace.events) - 1)):
        shorter = replace(trace, events=trace.events[:index] + trace.events[index + 1 :])
        if breaks_the_same(shorter):
            return shorter
    return None


def simplify_one_fault(trace: Trace) -> Trace | None:
    """*trace* with a fault less, or with one at an earlier allocation; None if it needs all."""
    for index, event in reversed(list(enumerate(trace.events))):
        for fail_at in simpler_faults(event.fail_at):
            events = list(trace.events)
            events[index] = replace(event, fail_at=fail_at)
            simpler = replace(trace, events=tuple(events))
            if breaks_the_same(simpler):
                return simpler
    return None


def simpler_faults(fail_at: str | None) -> Iterator[str | None]:
    """What to try instead, the simplest first: no fault, the first, then in half the way,
    a quarter of it, and so on."""
    if fail_at is None:
        return
    yield None
    kind, nth = parse(fail_at)
    for step in range(nth.bit_length()):
        yield spell(kind, nth - (nth >> step))
