"""A counterexample as short as it gets, in its one form, and how far that was searched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from hotplug_model.boot import BootLayout
from hotplug_model.bug import bug_of
from hotplug_model.explore.shorter import Shorter
from hotplug_model.minimise import minimise
from hotplug_model.normal_form import normal_form
from hotplug_model.ops import Op, drawn_ops, ops_on_request
from hotplug_model.ops.every import every_op, kinds_named
from hotplug_model.ops.interleave import Interleave
from hotplug_model.suspicion import Suspicion
from hotplug_model.trace import Trace, replay

BUDGET = 900
"""Operations to try for a shorter trace, and as many for its form: each about a second."""
MINIMAL = "minimal"
"""What :func:`certify` says goes into :attr:`~hotplug_model.trace.Trace.found` as this."""
SHORTEST = "shortest possible (searched)"


def certify(trace: Trace, boots: Iterable[BootLayout] = (), budget: int = BUDGET) -> Trace:
    """*trace* minimised, on the first of *boots* that will do; what is known is said in it.

    Delta debugging drops what need not be there. Then everything is tried that might be
    shorter, on the same machine, for as long as the budget lasts: one of another bug is
    not accepted.
    """
    trace = minimise(trace)
    index, violations = replay(trace)
    if index is None:
        return trace
    suspicion = Suspicion(trace, bug_of(violations))
    boots = tuple(boots)
    searched: dict[tuple[BootLayout, bool], int] = {}
    while True:
        trace = normal_form(suspicion, trace, before(trace.boot, boots), budget)
        # What was tried on this machine before would end no differently.
        here = trace.boot, any(event.fail_at for event in trace.events)
        shorter = elsewhere(suspicion, trace, boots, budget // 6)
        # Where the budget does not do for all kinds, those that are there come first.
        if shorter is None and suspicion.price > 1:
            shorter = with_its_kinds(suspicion, trace, budget // 2)
        if shorter is None and here not in searched:
            search = Shorter(suspicion, trace, kinds_named(()))
            shorter = search.first(budget)
            searched[here] = search.complete
        if shorter is None and suspicion.price == 1 and searched[here] < len(trace.events) - 1:
            shorter = with_its_kinds(suspicion, trace, budget // 2)
        if shorter is None:
            return replace(trace, found=trace.found | {MINIMAL: said(trace, searched[here])})
        trace = shorter


def elsewhere(
    suspicion: Suspicion, trace: Trace, boots: tuple[BootLayout, ...], budget: int
) -> Trace | None:
    """A shorter trace on another machine: one boots with what another first has to be given.

    Of the kinds of operations that *trace* has, those are tried of which there are few anywhere.
    """
    if len(trace.events) < 2 or not boots:
        return None
    machines, most = [suspicion.booted(boot) for boot in boots], budget // len(boots)
    few = [
        kind
        for kind in kinds_of(trace)
        if all(len(list(islice(every_op(m, (kind,)), most + 1))) <= most for m in machines)
    ]
    return Shorter(suspicion, trace, tuple(few), boots).first(budget)


def kinds_of(trace: Trace) -> tuple[type[Op], ...]:
    """The kinds of operations in *trace* that can be drawn."""
    drawn = drawn_ops().keys() | ops_on_request().keys()
    own = sorted({event.op_name() for event in trace.events} & drawn)
    return kinds_named(own) if own else ()


def with_its_kinds(suspicion: Suspicion, trace: Trace, budget: int) -> Trace | None:
    """A shorter trace that takes only kinds of operations that *trace* has: that is found sooner,
    at depths that a search with all kinds does not reach."""
    own = kinds_of(trace)
    return Shorter(suspicion, trace, own).first(budget) if own else None


def before(boot: BootLayout, boots: tuple[BootLayout, ...]) -> tuple[BootLayout, ...]:
    """Those of *boots* that come before *boot*: all, if it is none of them."""
    return boots[: boots.index(boot)] if boot in boots else boots


def said(trace: Trace, complete: int) -> str:
    """What is known of *trace* if no trace of up to *complete* events shows its bug."""
    nr = len(trace.events)
    together = any(isinstance(event, Interleave) for event in trace.events)
    # Schedules are not tried: one event, and nothing before it, cannot be fewer though.
    if complete >= nr - 1 and (nr <= 1 or not together):
        return SHORTEST
    return f"no shorter found up to depth {complete}"
