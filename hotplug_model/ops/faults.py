"""Drawing the allocation that fails: one of those that the operation makes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hotplug_model import steps
from hotplug_model.kernel import Kernel
from hotplug_model.ops.op import Chooser, Op
from hotplug_model.state.faults import Allocation, spell

WISHES = 24
"""Ways to ask for a fault before it is known which allocations there are."""
UNASKED = 12
"""The wishes below are for none: so often all goes well."""


def allocations(kernel: Kernel, op: Op) -> Counter[Allocation]:
    """How many of each kind *op* allocates here if none fails; *kernel* stays as it is."""
    rehearsal = kernel.snapshot()
    steps.run(op.steps(rehearsal))
    return rehearsal.faults.made


def draw_with_fault(cls: type[Op], kernel: Kernel, choose: Chooser) -> Op:
    """What *cls* draws, half the time with an allocation that fails, if it makes any."""
    # Chosen first: what is left of a packed integer behind an operation is mostly 0.
    wish = choose.index(WISHES) - UNASKED
    op = cls.draw(kernel, choose)
    if wish < 0:
        return op
    faults = candidates(allocations(kernel, op), choose)
    return replace(op, fail_at=faults[wish % len(faults)]) if faults else op


def candidates(made: Counter[Allocation], choose: Chooser) -> list[str]:
    """Of each kind the first allocation; then of each that has more, the last and any."""
    kinds = [kind for kind in Allocation if made[kind]]
    several = [kind for kind in kinds if made[kind] > 1]
    last = [spell(kind, made[kind] - 1) for kind in several]
    anywhere = [spell(kind, choose.index(made[kind])) for kind in several]
    return [spell(kind, 0) for kind in kinds] + last + anywhere
