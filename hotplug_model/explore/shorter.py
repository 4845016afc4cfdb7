"""Looking for a shorter trace of a bug, breadth first, as far as a budget goes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.ops.every import UNUSUAL, every_op
from hotplug_model.suspicion import OutOfBudget, Suspicion
from hotplug_model.trace import Trace

Events: TypeAlias = tuple[Op, ...]


@dataclass(slots=True)
class Reached:
    """A machine that operations lead to, and all the ways there of their number.

    On some of them something else may break: that is looked at when it matters.
    """

    kernel: Kernel
    ways: list[Events]


@dataclass(slots=True)
class Shorter:
    """A search on the machine of a trace for one that is shorter, of the same bug.

    Every operation is tried as in :mod:`~hotplug_model.explore.exploration`, with every
    single allocation failing too if one does in the trace. What is kept of a state is the
    machine itself, for a budget leads to few.
    """

    suspicion: Suspicion
    trace: Trace
    kinds: tuple[type[Op], ...]
    """Kinds of operations to try."""
    complete: int = 0
    """No trace of so many events of these kinds, nor of fewer, shows the bug."""
    _faults: bool = field(init=False)

    def __post_init__(self) -> None:
        self._faults = any(event.fail_at for event in self.trace.events)

    def first(self, budget: int) -> Trace | None:
        """The first that is found of the shortest; None if there is none within *budget*.

        A level that takes more than is left of that, if each machine takes as much as the last
        one did, is not begun: half a level proves nothing.
        """
        boot, each = self.trace.boot, 0.0
        self.suspicion.budget = budget
        level = [Reached(self.suspicion.booted(boot), [()])]
        try:
            while self.complete < len(self.trace.events) - 1:
                left = self.suspicion.budget
                if len(level) * each > left:
                    return None
                arrived: dict[bytes, Reached] = {}
                for before in level:
                    if found := self.expand(before, arrived):
                        return found
                each = (left - self.suspicion.budget) / len(level)
                level = list(arrived.values())
                self.complete += 1
        except OutOfBudget:
            pass
        return None

    def expand(self, before: Reached, arrived: dict[bytes, Reached]) -> Trace | None:
        """Try every operation on a machine, and add to *arrived* where it leads."""
        boot, here = self.trace.boot, before.kernel.fingerprint()
        for op in every_op(before.kernel, self.kinds, UNUSUAL, self._faults):
            kernel = before.kernel.snapshot()
            ways = [(*way, op) for way in before.ways]
            if self.suspicion.breaks(kernel, op):
                for events in ways:
                    if self.suspicion.show(boot, events):
                        return replace(self.trace, events=events)
            elif (there := kernel.fingerprint()) != here:
                arrived.setdefault(there, Reached(kernel, [])).ways.extend(ways)
        return None
