"""What a run has tried: operations, refusals, milestones, pairs and states reached."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hotplug_model.checker import Outcome
from hotplug_model.errors import errname
from hotplug_model.invariants import SOMETIMES
from hotplug_model.ops import Op, drawn_ops
from hotplug_model.reachable import nr_possible_pairs
from hotplug_model.sightings import Sightings


@dataclass(slots=True)
class Coverage:
    """Counts of one run; adding up the runs of several workers is :meth:`merge`."""

    examples: int = 0
    steps: int = 0
    effective: int = 0
    """Steps that changed something or were refused."""
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    """Operation -> ``ok`` or the errno's name -> how often."""
    milestones: dict[str, set[str]] = field(default_factory=dict)
    """Operation -> the milestones that it has passed."""
    pairs: set[tuple[str, str]] = field(default_factory=set)
    """Operations that followed one another, alone, in one example."""
    reached: set[str] = field(default_factory=set)
    """``sometimes`` properties that were true once."""
    failed: dict[str, Counter[str]] = field(default_factory=dict)
    """Operation -> allocation -> how often it asked for that and did not get it."""
    known: Counter[str] = field(default_factory=Counter)
    """Known defects of mainline that showed, and how often."""
    states: Sightings = field(default_factory=Sightings)
    """Where machines were between operations; in one example each state counts once."""
    _last: str | None = None
    _state: int = 0
    _visited: set[int] = field(default_factory=set)
    """States of the example that is running."""

    def start_example(self, state: int) -> None:
        """A new machine was booted, and is in *state*."""
        self.examples += 1
        self._last = None
        self._visited.clear()
        self._arrive(state)

    def count(self, op: Op, outcome: Outcome) -> None:
        """One operation was carried out or refused."""
        name, before = op.op_name(), self._state
        refused = outcome.refusal and errname(outcome.refusal.errno)
        self.outcomes.setdefault(name, Counter())[refused or "ok"] += 1
        self.milestones.setdefault(name, set()).update(outcome.milestones)
        self.known.update({v.defect for v in outcome.known if v.defect})
        if outcome.failed is not None:
            self.failed.setdefault(name, Counter())[outcome.failed.value] += 1
        alone = name if name in drawn_ops() else None
        if self._last is not None and alone is not None:
            self.pairs.add((self._last, alone))
        self._last = alone
        self.steps += 1
        self.effective += bool(refused) or outcome.state != before or outcome.refused_one
        self._arrive(outcome.state)

    def _arrive(self, state: int) -> None:
        self._state = state
        if state not in self._visited:
            self._visited.add(state)
            self.states.see(state)

    def merge(self, other: Coverage) -> None:
        """Add what another run has tried."""
        self.examples += other.examples
        self.steps += other.steps
        self.effective += other.effective
        for name, counts in other.outcomes.items():
            self.outcomes.setdefault(name, Counter()).update(counts)
        for name, counts in other.failed.items():
            self.failed.setdefault(name, Counter()).update(counts)
        for name, passed in other.milestones.items():
            self.milestones.setdefault(name, set()).update(passed)
        self.states.merge(other.states)
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
        for name in drawn_ops():
            counts = self.outcomes.get(name, Counter())
            refused = {err: n for err, n in sorted(counts.items()) if err != "ok"}
            operations[name] = {
                "drawn": sum(counts.values()),
                "succeeded": counts["ok"],
                "refused": refused,
                "milestones": sorted(self.milestones.get(name, ())),
            }
        return {
            "operations": operations,
            "failed_allocations": {
                name: dict(sorted(self.failed[name].items()))
                for name in drawn_ops()
                if name in self.failed
            },
            "effective": self.effective,
            "pairs": {"seen": len(self.pairs), "possible": nr_possible_pairs()},
            "sometimes": {name: name in self.reached for name in SOMETIMES.names()},
            "states": {
                "distinct": self.states.distinct,
                "sampled": 1 / (1 << self.states.halvings),
                "unseen": round(self.states.unseen, 4),
            },
        }
