"""Making a counterexample shorter under one fixed violation, by delta debugging."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from hotplug_model.bug import Bug, Trials, bug_of
from hotplug_model.checker import carry_out
from hotplug_model.ops import Op
from hotplug_model.ops.interleave import Interleave
from hotplug_model.state.faults import parse, spell
from hotplug_model.trace import Trace, replay


def minimise(trace: Trace) -> Trace:
    """Drop every event whose absence still shows the same bug, and only at the end.

    A shorter trace of another bug is not accepted. First go events that left the machine
    as it was, then halves of the rest, quarters and so on, from the end to the front, for
    later events need earlier ones; at last single ones, over and over until nothing more
    goes. Of allocations that fail likewise those go that need not, and others fail
    earlier. Of operations that were interleaved one may do, or fewer or earlier switches.

    At first only the last event of each trial is judged. Where another one breaks something before
    that, it goes on, with every event judged, from the shortest trial that breaks nothing before it
    shows the bug, cut at the event that does.

    Source: Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing Input (IEEE
    TSE 28, 2002).
    """
    hasty = Trials(trace, frozenset(), hasty=True)
    if trace.events and (violations := hasty.broken_by_last(trace.events)):
        hasty.bug = bug_of(violations)
        shortest = shortened(hasty, trace)
        sound: set[bytes] = set()
        for shown in reversed(hasty.shown):
            index, violations = replay(shown, sound=sound)
            if index is None or bug_of(violations) != hasty.bug:
                continue
            if shown is shortest and index == len(shown.events) - 1:
                return shown
            return with_all_judged(shown, index, hasty.bug)
    index, violations = replay(trace)
    return trace if index is None else with_all_judged(trace, index, bug_of(violations))


def with_all_judged(trace: Trace, index: int, bug: Bug) -> Trace:
    """*trace*, which shows *bug* at the event *index*, without what it can do without."""
    return shortened(Trials(trace, bug), replace(trace, events=trace.events[: index + 1]))


def shortened(trials: Trials, trace: Trace) -> Trace:
    """*trace* without what *trials* say that it can do without."""
    trace = trials.with_events(trace, effective(trials, trace)) or trace
    size = len(trace.events) // 2
    while size > 1:
        trace = drop(trials, trace, size)
        size //= 2
    while simpler := drop_one(trials, trace) or simplify_one(trials, trace):
        trace = simpler
    return trace


def effective(trials: Trials, trace: Trace) -> tuple[Op, ...]:
    """The last event, and all others that did not leave the machine as it was."""
    checker = trials.machine()
    states = [checker.now()]
    for event in trace.events[:-1]:
        carry_out(checker.kernel, event)
        states.append(checker.now())
    # The last event was not carried out: it has no state behind it.
    steps = zip(trace.events, pairwise(states), strict=False)
    return (*(event for event, (a, b) in steps if a != b), *trace.events[-1:])


def drop(trials: Trials, trace: Trace, size: int) -> Trace:
    """*trace* without those of its parts of *size* events that it can do without."""
    for start in reversed(range(0, len(trace.events) - 1, size)):
        # The last event always stays.
        end = min(start + size, len(trace.events) - 1)
        events = trace.events[:start] + trace.events[end:]
        trace = trials.with_events(trace, events) or trace
    return trace


def drop_one(trials: Trials, trace: Trace) -> Trace | None:
    """*trace* without the last event that it can do without; None if it needs all."""
    for index in reversed(range(len(trace.events) - 1)):
        events = trace.events[:index] + trace.events[index + 1 :]
        if shorter := trials.with_events(trace, events):
            return shorter
    return None


def simplify_one(trials: Trials, trace: Trace) -> Trace | None:
    """*trace* with one event made simpler; None if each must be as it is."""
    for index, event in reversed(list(enumerate(trace.events))):
        for simpler in simpler_events(event):
            events = (*trace.events[:index], simpler, *trace.events[index + 1 :])
            if shorter := trials.with_events(trace, events):
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
