"""Counting comparisons, and keeping those that failed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One disagreement."""

    what: str
    where: str
    recorded: object
    model: object

    def __str__(self) -> str:
        return f"{self.what} at {self.where}: recorded {self.recorded}, model {self.model}"


@dataclass(slots=True)
class Tally:
    """Comparisons made, and those that failed."""

    comparisons: int = 0
    mismatches: list[Mismatch] | None = None

    def compare(self, what: str, where: object, recorded: object, model: object) -> None:
        """Count one comparison."""
        self.comparisons += 1
        if recorded != model:
            found = Mismatch(what, str(where), recorded, model)
            self.mismatches = [*(self.mismatches or []), found]
