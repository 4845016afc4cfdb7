"""How failing allocations end: every single one of every usual operation, tried.

What it finds on the tiny geometries is what ``hotplug_model/fates.py`` lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from hotplug_model.checker import QUIESCENT, Checker, Outcome, carry_out
from hotplug_model.fates import Fate
from hotplug_model.kernel import Kernel
from hotplug_model.ops import OPS, Op
from hotplug_model.ops.dax_kmem import DaxKmemProbe
from hotplug_model.ops.every import UNUSUAL, draws, every_fault
from hotplug_model.ops.faults import allocations
from hotplug_model.ops.hv_balloon import HotAddReq
from hotplug_model.ops.memremap import MemremapPages
from hotplug_model.state.faults import Allocation


def simple_states(kernel: Kernel, depth: int) -> Iterator[Kernel]:
    """*kernel*, and what comes of up to *depth* operations, each drawn in the simplest way."""
    seen = {kernel.fingerprint()}
    frontier = [kernel]
    for _ in range(depth + 1):
        yield from frontier
        deeper = []
        for state in frontier:
            for cls in OPS:
                if cls.enabled(state):
                    after = state.snapshot()
                    refusal, _ = carry_out(after, next(draws(state, cls)))
                    if refusal is None and after.fingerprint() not in seen:
                        seen.add(after.fingerprint())
                        deeper.append(after)
        frontier = deeper


def every_faulty_op(booted: Sequence[Kernel], depth: int) -> Iterator[tuple[Kernel, Op]]:
    """Every single failing allocation of every usual operation, with a state for it.

    Right after boot that is all; *depth* operations later, those of operations that have
    not allocated in that way before. What fails as add_memory() does is tried
    right after boot only.
    """
    tried: set[tuple[Op, frozenset[tuple[Allocation, int]], bool]] = set()
    for kernel in booted:
        for nr, state in enumerate(simple_states(kernel, depth)):
            for op in usual_ops(state):
                made = allocations(state, op)
                key = (op, frozenset(made.items()), state.layout.holes_in_zone)
                later = key not in tried and not fails_as_add_memory(state, op)
                if nr == 0 or later:
                    tried.add(key)
                    yield from ((state, faulty) for faulty in every_fault(op, made))


def usual_ops(kernel: Kernel) -> Iterator[Op]:
    """Every operation with one unusual choice, but maps, of which there are many, with
    none; of dax devices those of node 0 that do not get on with what they can have."""
    for cls in OPS:
        if cls.enabled(kernel):
            unusual = 0 if cls is MemremapPages else UNUSUAL
            found = dict.fromkeys(draws(kernel, cls, unusual))
            yield from (op for op in found if simple_device(op))


def fails_as_add_memory(kernel: Kernel, op: Op) -> bool:
    """Whether *op* only calls add_memory(). On powerpc it matters to a dax device of two
    sections which huge pages of vmemmap there are already."""
    device = isinstance(op, DaxKmemProbe) and kernel.geometry.arch != "powerpc"
    return device or isinstance(op, HotAddReq)


def simple_device(op: Op) -> bool:
    """Whether *op* binds no dax device, or one that has one range, of node 0."""
    return not isinstance(op, DaxKmemProbe) or (len(op.ranges), op.nid) == (1, 0)


def fates(booted: Sequence[Kernel], depth: int) -> tuple[set[Fate], list[str]]:
    """How failing allocations end on machines of one geometry; and what they violate."""
    found: set[Fate] = set()
    violated: list[str] = []
    sound: set[bytes] = set()
    for kernel, op in every_faulty_op(booted, depth):
        outcome, lasting = aftermath(kernel, op, sound)
        if lasting:
            lasting -= aftermath(kernel, replace(op, fail_at=None), sound)[1]
        assert outcome.failed is not None
        err = outcome.refusal.errno if outcome.refusal else 0
        found |= {Fate(op.op_name(), outcome.failed, err, defect) for defect in {"", *lasting}}
        violated += [f"{op}: {violation}" for violation in outcome.violations]
    return found, violated


def aftermath(kernel: Kernel, op: Op, sound: set[bytes]) -> tuple[Outcome, set[str]]:
    """What *op* does, and which known defects of mainline last that did not show before."""
    checker = Checker(kernel.snapshot(), sound=sound)
    before = checker.look(QUIESCENT)
    outcome = checker.apply(op)
    after = [v for v in outcome.known if v.milestone == QUIESCENT] + checker.look(QUIESCENT)
    return outcome, {v.defect for v in after if v.defect} - {v.defect for v in before}
