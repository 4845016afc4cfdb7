"""One form for all traces that differ in numbers or in order only.

Of all traces that show a bug with as many operations of the same kinds it is the first, in an
order of our own: by boot layout, then by kind and arguments of each operation in turn, the simplest
first. If the operations of the core that a driver's stand for show it as well, on any of the
layouts, it is the first with those. Where there are too many to try them, it is what no exchange of
two numbers, no exchange of two neighbours and no simpler argument makes any simpler.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, TypeAlias

from hotplug_model.boot import BootLayout
from hotplug_model.checker import carry_out
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.ops import OPS, Op
from hotplug_model.ops.dax_kmem import DaxKmemProbe, DaxKmemRemove
from hotplug_model.ops.every import UNUSUAL
from hotplug_model.ops.hv_balloon import HotAddReq
from hotplug_model.ops.memory_hotplug import AddMemory, OfflineAndRemoveMemory, RemoveMemory
from hotplug_model.ops.virtio_mem import VirtioMemProbe, VirtioMemRemove, VirtioMemRequest
from hotplug_model.suspicion import OutOfBudget, Suspicion
from hotplug_model.symmetry import Renumbering
from hotplug_model.trace import Trace

Kinds: TypeAlias = tuple[type[Op], ...]

PLAIN: dict[type[Op], Kinds] = {
    DaxKmemProbe: (AddMemory,),
    DaxKmemRemove: (OfflineAndRemoveMemory,),
    HotAddReq: (AddMemory,),
    RemoveMemory: (OfflineAndRemoveMemory,),
    VirtioMemProbe: (),
    VirtioMemRequest: (AddMemory,),
    VirtioMemRemove: (OfflineAndRemoveMemory,),
}
"""What the core does under a driver's operations; of its own, the one that needs less before."""


def normal_form(
    suspicion: Suspicion, trace: Trace, boots: Iterable[BootLayout], budget: int
) -> Trace:
    """The form of *trace*, on the first of *boots* where there is one, within *budget*."""
    if trace.together or not trace.events:
        return trace
    own, core, boots = kinds_in(trace), plain(trace.events), (*boots, trace.boot)
    tries = [(core, budget // 4)] if core != own and len(core) == len(own) else []
    for kinds, nr in [*tries, (own, budget)]:
        suspicion.budget = nr
        with suppress(OutOfBudget):
            for boot in boots:
                if found := Smallest(suspicion, replace(trace, boot=boot), kinds).find():
                    return found
    suspicion.budget = budget // 2
    return simplified(suspicion, trace)


def kinds_in(trace: Trace) -> Kinds:
    """The kind of each operation of *trace*."""
    return tuple(type(event) for event in trace.events)


def plain(events: Iterable[Op]) -> Kinds:
    """The kinds of operations of the core that *events* stand for."""
    kinds = (type(event) for event in events)
    return tuple(core for kind in kinds for core in PLAIN.get(kind, (kind,)))


@dataclass(slots=True)
class Smallest:
    """A search, on the machine of a trace, for the first of the same bug that has just these
    kinds of operations, the last one last."""

    suspicion: Suspicion
    trace: Trace
    kinds: Kinds
    unusual: int = UNUSUAL
    """At most so many unusual choices an operation."""
    _seen: set[tuple[bytes, Kinds]] = field(default_factory=set)

    def find(self) -> Trace | None:
        """That trace; None if there is none."""
        first = sorted(self.kinds[:-1], key=rank)
        return self.go_on(self.suspicion.booted(self.trace.boot), (), tuple(first))

    def go_on(self, kernel: Kernel, way: tuple[Op, ...], left: Kinds) -> Trace | None:
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
        for op in self.every(kernel, self.kinds[-1]):
            events = (*way, op)
            if self.suspicion.breaks(kernel.snapshot(), op) and self.suspicion.show(
                self.trace.boot, events
            ):
                return replace(self.trace, events=events)
        return None

    def every(self, kernel: Kernel, kind: type[Op]) -> Iterator[Op]:
        """Every operation of a kind; with failing allocations if the trace has one."""
        return self.suspicion.drawn.every_op(kernel, (kind,), self.unusual, self.trace.faults)


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
        faults = event.fail_at is not None
        ops = suspicion.drawn.every_op(kernel, (type(event),), UNUSUAL, faults)
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
