"""What a run has tried: operations, refusals, pairs and states reached."""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import dataclass, field

from hotplug_model.invariants import SOMETIMES
from hotplug_model.ops import OPS, Op
from hotplug_model.state.faults import Allocation


@dataclass(slots=True)
class Coverage:
    """Counts of one run; adding up the runs of several workers is :meth:`merge`."""

    examples: int = 0
    steps: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    """Operation -> ``ok`` or the errno's name -> how often."""
    pairs: set[tuple[str, str]] = field(default_factory=set)
    """Operations that followed one another in one example."""
    reached: set[str] = field(default_factory=set)
    """``sometimes`` properties that were true once."""
    failed: dict[str, Counter[str]] = field(default_factory=dict)
    """Operation -> allocation -> how often it asked for that and did not get it."""
    known: Counter[str] = field(default_factory=Counter)
    """Known defects of mainline that showed, and how often."""
    _last: str | None = None

    def start_example(self) -> None:
        """A new machine was booted."""
        self.examples += 1
        self._last = None

    def count(self, op: Op, err: int | None, failed: Allocation | None = None) -> None:
        """One operation was carried out or refused with *err*; *failed* was not to be had."""
        name = op.op_name()
        outcome = errno.errorcode[err] if err else "ok"
        self.outcomes.setdefault(name, Counter())[outcome] += 1
        self.steps += 1
        if failed is not None:
            self.failed.setdefault(name, Counter())[failed.value] += 1
        if self._last is not None:
            self.pairs.add((self._last, name))
        self._last = name

    def merge(self, other: Coverage) -> None:
        """Add what another run has tried."""
        self.examples += other.examples
        self.steps += other.steps
        for name, counts in other.outcomes.items():
            self.outcomes.setdefault(name, Counter()).update(counts)
        for name, counts in other.failed.items():
            self.failed.setdefault(name, Counter()).update(counts)
        self.pairs |= other.pairs
        self.reached |= other.reached
        self.known.update(other.known)

    def failed_pairs(self) -> set[tuple[str, str]]:
        """Operations with an allocation that they asked for in vain."""
        return {(name, kind) for name, counts in self.failed.items() for kind in counts}

    def missing(self) -> list[str]:
        """``sometimes`` properties that were never true."""
        return [name for name in SOMETIMES.names() if name not in self.reached]

    def to_json(self) -> dict[str, object]:
        """Plain JSON, in a fixed order."""
        operations = {}
        for name in OPS.names():
            counts = self.outcomes.get(name, Counter())
            refused = {err: n for err, n in sorted(counts.items()) if err != "ok"}
            operations[name] = {
                "drawn": sum(counts.values()),
                "succeeded": counts["ok"],
                "refused": refused,
            }
        return {
            "operations": operations,
            "failed_allocations": {
                name: dict(sorted(self.failed[name].items()))
                for name in OPS.names()
                if name in self.failed
            },
            "pairs": {"seen": len(self.pairs), "possible": len(OPS) ** 2},
            "sometimes": {name: name in self.reached for name in SOMETIMES.names()},
        }
