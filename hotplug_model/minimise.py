"""Making a counterexample shorter under one fixed violation."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.trace import Trace, broken, replay


def minimise(trace: Trace) -> Trace:
    """Drop every event whose absence still breaks the same invariants, and only at the end.

    A shorter trace of another bug is not accepted. Events are dropped from the end to
    the front, over and over until nothing more goes: later ones need earlier ones.
    """
    index, _ = replay(trace)
    if index is None:
        return trace
    trace = replace(trace, events=trace.events[: index + 1])
    while True:
        shorter = drop_one(trace)
        if shorter is None:
            return trace
        trace = shorter


def drop_one(trace: Trace) -> Trace | None:
    """*trace* without the last event that it can do without; None if it needs all."""
    for index in reversed(range(len(trace.events) - 1)):
        events = trace.events[:index] + trace.events[index + 1 :]
        shorter = replace(trace, events=events)
        last, found = replay(shorter)
        if last == len(events) - 1 and broken(found) == trace.violates:
            return shorter
    return None
