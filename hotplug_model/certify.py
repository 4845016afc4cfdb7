"""A counterexample as short as it gets, in its one form, and how far that was searched."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain

from hotplug_model.boot import BootLayout
from hotplug_model.bug import bug_of
from hotplug_model.explore.shorter import Shorter
from hotplug_model.fewer import with_fewer
from hotplug_model.kernel import Kernel
from hotplug_model.minimise import minimise
from hotplug_model.normal_form import normal_form
from hotplug_model.ops import Op, drawn_ops, ops_on_request
from hotplug_model.ops.every import UNUSUAL, kinds_named
from hotplug_model.suspicion import OutOfBudget, Suspicion
from hotplug_model.trace import Trace, replay

BUDGET = 720
"""Operations to try in the longest of the searches, about a second; others take shares of it."""
FEW = 4
"""Usual operations of a kind that is cheap to try on every layout."""
MINIMAL = "minimal"
"""What :func:`certify` says goes into :attr:`~hotplug_model.trace.Trace.found` as this."""
SHORTEST = "shortest possible (searched)"


def certify(trace: Trace, boots: Iterable[BootLayout] = (), budget: int = BUDGET) -> Trace:
    """*trace* minimised, on the first of *boots* that will do; what is known is said in it.

    Delta debugging drops what need not be there. Then other layouts are tried with little, and
    everything that might be shorter on the same machine, for as long as the budget lasts: one of
    another bug is not accepted.
    """
    trace = minimise(trace)
    index, violations = replay(trace)
    if index is None:
        return trace
    search = Search(Suspicion(trace, bug_of(violations)), tuple(boots), budget)
    trace = search.at_once(trace) or trace
    while True:
        trace = search.normal_form(trace)
        shorter = search.shorter(trace)
        if shorter is None:
            known = said(trace, search.complete(trace))
            return replace(trace, found=trace.found | {MINIMAL: known})
        trace = shorter


@dataclass(slots=True)
class Search:
    """All that is tried for a shorter trace of a bug, each as far as its budget goes."""

    suspicion: Suspicion
    boots: tuple[BootLayout, ...]
    budget: int
    _searched: dict[tuple[BootLayout, bool], int] = field(default_factory=dict)

    def normal_form(self, trace: Trace) -> Trace:
        """The form of *trace*, on the first of the layouts where there is one."""
        return normal_form(self.suspicion, trace, before(trace.boot, self.boots), self.budget)

    def at_once(self, trace: Trace) -> Trace | None:
        """A trace of no event, or of a usual one of a kind that has few, on the first of the
        layouts where that shows the bug."""
        if not trace.events or not self.boots:
            return None
        for boot in self.boots:
            if self.suspicion.trials(boot).show(()):
                return replace(trace, boot=boot, events=())
        if len(trace.events) < 2:
            return None
        few = few_anywhere(self.suspicion, self.boots, kinds_named(()), 0, FEW)
        search = Shorter(self.suspicion, trace, few, self.boots, unusual=0, deepest=1)
        return search.first(self.budget)

    def complete(self, trace: Trace) -> int:
        """No trace of so many events on the machine of *trace* shows the bug."""
        return self._searched.get(machine_of(trace), 0)

    def shorter(self, trace: Trace) -> Trace | None:
        """A shorter trace, if one is found. No machine is searched with all kinds twice."""
        dear = self.suspicion.dear
        if found := elsewhere(self.suspicion, trace, self.boots, self.budget // 6):
            return found
        if found := with_a_variant_for_others(self.suspicion, trace, self.budget // 8):
            return found
        if found := with_fewer(self.suspicion, trace, self.boots, self.budget // (1 + dear)):
            return found
        if self.complete(trace) >= len(trace.events) - 1:
            return None
        # Where the budget does not do for all kinds, those that are there come first.
        if dear and (found := with_its_kinds(self.suspicion, trace, self.budget // 2)):
            return found
        if machine_of(trace) not in self._searched:
            search = Shorter(self.suspicion, trace, kinds_named(()))
            found = search.first(self.budget)
            self._searched[machine_of(trace)] = search.complete
            if found:
                return found
        if self.complete(trace) >= len(trace.events) - 1:
            return None
        if not dear and (found := with_its_kinds(self.suspicion, trace, self.budget // 2)):
            return found
        return with_one_for_two(self.suspicion, trace, self.budget // 2)


def machine_of(trace: Trace) -> tuple[BootLayout, bool]:
    """What a search on the machine of *trace* depends on: allocations fail, or none does."""
    return trace.boot, trace.faults


def elsewhere(
    suspicion: Suspicion, trace: Trace, boots: tuple[BootLayout, ...], budget: int
) -> Trace | None:
    """A shorter trace on another machine: one boots with what another first has to be given. Of
    the kinds of operations that *trace* has, those are tried of which there are few anywhere."""
    if len(trace.events) < 2 or not boots:
        return None
    few = few_anywhere(suspicion, boots, kinds_of(trace), UNUSUAL, budget // len(boots))
    return Shorter(suspicion, trace, few, boots).first(budget)


def few_anywhere(
    suspicion: Suspicion,
    boots: tuple[BootLayout, ...],
    kinds: tuple[type[Op], ...],
    unusual: int,
    most: int,
) -> tuple[type[Op], ...]:
    """Those of *kinds* of which right after boot no machine can draw more than *most*."""
    machines = [suspicion.booted(boot) for boot in boots]
    nr_ops = suspicion.drawn.nr_ops
    return tuple(
        kind
        for kind in kinds
        if all(nr_ops(machine, kind, unusual, most) <= most for machine in machines)
    )


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


def with_one_for_two(suspicion: Suspicion, trace: Trace, budget: int) -> Trace | None:
    """A shorter trace with one usual operation, of any kind, in the place of two neighbours.
    Each pair has the whole budget."""
    if len(trace.events) < 3 or trace.together:
        return None
    for at in range(len(trace.events) - 1):
        first, last = trace.events[:at], trace.events[at + 2 :]
        suspicion.budget = budget
        kernel = suspicion.trials(trace.boot).behind(first)
        with suppress(OutOfBudget):
            for op in suspicion.drawn.every_op(kernel, kinds_named(()), 0):
                if suspicion.may_show(trace.boot, (*first, op, *last)):
                    return replace(trace, events=(*first, op, *last))
    return None


def with_a_variant_for_others(
    suspicion: Suspicion, trace: Trace, budget: int
) -> Trace | None:
    """A shorter trace with a variant of one operation in the place of all, or of two neighbours:
    what fails late undoes what it did. It may take one unusual choice more than what else is
    tried. Either has the whole budget."""
    if len(trace.events) < 2 or trace.together:
        return None
    nr = len(trace.events)
    pairs = [(at, at + 2) for at in range(nr - 1)] if nr > 2 else []
    for places in ([(0, nr)], pairs):
        suspicion.budget = budget
        with suppress(OutOfBudget):
            for start, end in places:
                first, last = trace.events[:start], trace.events[end:]
                kernel = suspicion.trials(trace.boot).behind(first)
                each = (variants(suspicion, kernel, event) for event in trace.events[start:end])
                for op in chain.from_iterable(each):
                    if suspicion.may_show(trace.boot, (*first, op, *last)):
                        return replace(trace, events=(*first, op, *last))
    return None


def variants(suspicion: Suspicion, kernel: Kernel, event: Op) -> list[Op]:
    """*event* with one argument as another operation of its kind has it that can be drawn; those
    that ask for more than it does come first."""
    own = event.arguments()
    drawn = suspicion.drawn.every_op(kernel, (type(event),), UNUSUAL)
    values = dict.fromkeys(item for op in drawn for item in op.arguments().items())
    others = [(name, value) for name, value in values if own[name] != value]
    others.sort(key=lambda item: not begins_with(own[item[0]], item[1]))
    return [replace(event, **{name: value}) for name, value in others]


def begins_with(part: object, whole: object) -> bool:
    """Whether *whole* is a list that begins with all of *part*."""
    if not isinstance(part, tuple) or not isinstance(whole, tuple):
        return False
    return whole[: len(part)] == part


def before(boot: BootLayout, boots: tuple[BootLayout, ...]) -> tuple[BootLayout, ...]:
    """Those of *boots* that come before *boot*: all, if it is none of them."""
    return boots[: boots.index(boot)] if boot in boots else boots


def said(trace: Trace, complete: int) -> str:
    """What is known of *trace* if no trace of up to *complete* events shows its bug."""
    nr = len(trace.events)
    # Schedules are not tried: one event, and nothing before it, cannot be fewer though.
    if complete >= nr - 1 and (nr <= 1 or not trace.together):
        return SHORTEST
    return f"no shorter found up to depth {complete}"
