"""Whether a run has seen enough for its silence to mean something."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hotplug_model.coverage import Coverage
from hotplug_model.invariants import SOMETIMES
from hotplug_model.ops import drawn_ops
from hotplug_model.reachable import IMPOSSIBLE_PAIRS, MILESTONES, REFUSALS
from hotplug_model.settings import Floor


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One kind of coverage: how much of what there is, and what is missing by name."""

    seen: int
    of: int
    missed: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """From 0 to 1; of nothing everything was seen."""
        return self.seen / self.of if self.of else 1.0


def measure(coverage: Coverage) -> dict[str, Measured]:
    """Every kind of coverage that a floor may ask for, by the floor's name for it."""
    pairs = [(first, second) for first in drawn_ops() for second in drawn_ops()]
    wanted_pairs = [pair for pair in pairs if pair not in IMPOSSIBLE_PAIRS]
    passed = set().union(*coverage.milestones.values())
    refusals = [(name, err) for name, errs in REFUSALS.items() for err in errs]
    return {
        "effective": Measured(seen=coverage.effective, of=coverage.steps),
        "operations": among({name: name in coverage.outcomes for name in drawn_ops()}),
        "refusals": among(
            {f"{op} -{err}": err in coverage.outcomes.get(op, ()) for op, err in refusals}
        ),
        "milestones": among({name: name in passed for name in MILESTONES}),
        "pairs": among({f"{a} then {b}": (a, b) in coverage.pairs for a, b in wanted_pairs}),
        "sometimes": among({name: name in coverage.reached for name in SOMETIMES.names()}),
    }


def among(seen: dict[str, bool]) -> Measured:
    """How many of the names were *seen*."""
    missed = tuple(name for name, was in seen.items() if not was)
    return Measured(seen=len(seen) - len(missed), of=len(seen), missed=missed)


def shortfalls(coverage: Coverage, floor: Floor) -> list[str]:
    """What the floor asks for and the run did not see, a line each."""
    measured = measure(coverage)
    return [
        f"{name}: {share_text(measured[name])}, the floor is {getattr(floor, name):.0%}"
        + "".join(f"; never {each}" for each in measured[name].missed)
        for name in (each.name for each in fields(floor))
        if measured[name].share < getattr(floor, name)
    ]


def share_text(measured: Measured) -> str:
    """``3 of 4 (75.0 %)``, never rounded up to all."""
    percent = int(measured.share * 1000) / 10
    return f"{measured.seen} of {measured.of} ({percent} %)"
