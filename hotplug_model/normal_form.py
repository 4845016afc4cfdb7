"""One form for all traces that differ in numbers or in order only.

Of all traces that show a bug with as many operations of the same kinds it is the first, in
an order of our own: by boot layout, then by kind and arguments of each operation in turn,
the simplest first. Where there are too many to try them, it is what no exchange of two
numbers, no exchange of two neighbours and no simpler argument makes any simpler.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from hotplug_model.boot import BootLayout
from hotplug_model.checker import carry_out
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.ops import OPS, Op
from hotplug_model.ops.every import UNUSUAL, every_op
from hotplug_model.ops.interleave import Interleave
from hotplug_model.suspicion import OutOfBudget, Suspicion
from hotplug_model.symmetry import Renumbering
from hotplug_model.trace import Trace


def normal_form(
    suspicion: Suspicion, trace: Trace, boots: Iterable[BootLayout], budget: int
) -> Trace:
    """The form of *trace*, on the first of *boots* where there is one, within *budget*."""
    if any(isinstance(event, Interleave) for event in trace.events) or not trace.events:
        return trace
    suspicion.budget = budget
    try:
        for boot in (*boots, trace.boot):
            if found := Smallest(suspicion, replace(trace, boot=boot)).find():
                return found
    except OutOfBudget:
        pass
    suspicion.budget = budget // 2
    return simplified(suspicion, trace)


@dataclass(slots=True)
class Smallest:
    """A search, on the machine of a trace, for the first of its kind."""

    suspicion: Suspicion
    trace: Trace
    _seen: set[tuple[bytes, tuple[type[Op], ...]]] = field(default_factory=set)

    def find(self) -> Trace | None:
        """The first trace with the same kinds of operations, the last one last."""
        kinds = sorted((type(event) for event in self.trace.events[:-1]), key=rank)
        return self.go_on(self.suspicion.booted(self.trace.boot), (), tuple(kinds))

    def go_on(
        self, kernel: Kernel, way: tuple[Op, ...], left: tuple[type[Op], ...]
    ) -> Trace | None:
        """The first trace that begins with *way*, and goes on with the kinds *left*."""
        if not left:
            return self.end(kernel, way)
        here = kernel.fingerprint()
        for kind in dict.fromkeys(left):
            at = left.index(kind)
            rest = left[:at] + left[at + 1 :]
            for op in self.every(kernel, kind):
                self.suspicion.spend(1)
                after = kernel.snapshot()
                carry_out(after, op)
                state = after.fingerprint(), rest
                if state[0] == here or state in self._seen:
                    continue
                self._seen.add(state)
                if found := self.go_on(after, (*way, op), rest):
                    return found
        return None

    def end(self, kernel: Kernel, way: tuple[Op, ...]) -> Trace | None:
        """The first trace that has one operation more than *way*."""
        for op in self.every(kernel, type(self.trace.events[-1])):
            events = (*way, op)
            if self.suspicion.breaks(kernel.snapshot(), op) and self.suspicion.show(
                self.trace.boot, events
            ):
                return replace(self.trace, events=events)
        return None

    def every(self, kernel: Kernel, kind: type[Op]) -> Iterator[Op]:
        """Every operation of a kind; with failing allocations if the trace has one."""
        return every_op(kernel, (kind,), UNUSUAL, any(e.fail_at for e in self.trace.events))


def simplified(suspicion: Suspicion, trace: Trace) -> Trace:
    """*trace*, made simpler bit by bit until nothing helps or the budget is used up."""
    try:
        while simpler := next(simpler_traces(suspicion, trace), None):
            trace = simpler
    except OutOfBudget:
        pass
    return trace


def simpler_traces(suspicion: Suspicion, trace: Trace) -> Iterator[Trace]:
    """Traces of the bug that are simpler than *trace* in one respect."""
    for events in (*exchanges(trace), *swaps(trace)):
        if key(events) < key(trace.events) and suspicion.may_show(trace.boot, events):
            yield replace(trace, events=events)
    for events in plainer(suspicion, trace):
        if suspicion.may_show(trace.boot, events):
            yield replace(trace, events=events)


def exchanges(trace: Trace) -> Iterator[tuple[Op, ...]]:
    """*trace* with two sections, two nodes or two ids of maps exchanged."""
    geometry = GEOMETRIES[trace.geometry]
    sections = sorted(
        {
            geometry.section_nr(section.start_pfn)
            for pfns in trace.boot.window
            for section in geometry.section_chunks(pfns)
        }
    )
    maps = {e.arguments()["pgmap_id"] for e in trace.events if "pgmap_id" in e.arguments()}
    pairs = [
        *(Renumbering(sections={a: b, b: a}) for a, b in combinations(sections, 2)),
        *(Renumbering(nodes={a: b, b: a}) for a, b in combinations(range(trace.boot.nodes), 2)),
        *(Renumbering(pgmaps={a: b, b: a}) for a in range(max(maps, default=0)) for b in maps),
    ]
    for renumbering in pairs:
        events = [renumbering.op(geometry, event) for event in trace.events]
        if None not in events:
            yield tuple(event for event in events if event is not None)


def swaps(trace: Trace) -> Iterator[tuple[Op, ...]]:
    """*trace* with two neighbours in the other order."""
    for at in range(len(trace.events) - 1):
        before, (one, other), behind = (
            trace.events[:at], trace.events[at : at + 2], trace.events[at + 2 :],
        )  # fmt: skip
        yield (*before, other, one, *behind)


def plainer(suspicion: Suspicion, trace: Trace) -> Iterator[tuple[Op, ...]]:
    """*trace* with one operation in the place of which a simpler one can be drawn."""
    kernel = suspicion.booted(trace.boot)
    for at, event in enumerate(trace.events):
        ops = list(every_op(kernel, (type(event),), UNUSUAL, event.fail_at is not None))
        for op in sorted(ops, key=lambda op: key((op,))):
            if key((op,)) < key((event,)):
                yield (*trace.events[:at], op, *trace.events[at + 1 :])
        carry_out(kernel, event)


def key(events: tuple[Op, ...]) -> list[Any]:
    """What comes first when *events* are compared."""
    return [(rank(type(e)), *e.arguments().values(), e.fail_at or "") for e in events]


def rank(kind: type[Op]) -> int:
    """Where a kind stands among all."""
    return OPS.names().index(kind.op_name())
