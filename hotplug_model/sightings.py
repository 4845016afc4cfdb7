"""How often which states were seen, in bounded memory, and what that says of the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

LIMIT = 1 << 16
"""States to remember; one takes some hundred bytes."""


@dataclass(slots=True)
class Sightings:
    """Counts states, or a fair sample of them where there are more than LIMIT.

    A state is a number whose bits are as good as random. Where there are too many, those
    with an odd number are left out, then every other of the rest, and so on. Who is left
    out follows from the states alone: the order in which they were seen, and by how many
    processes, makes no difference.
    """

    counts: Counter[int] = field(default_factory=Counter)
    halvings: int = 0

    def see(self, state: int) -> None:
        """A machine was in *state*."""
        if self.samples(state):
            self.counts[state] += 1
            self._make_room()

    def merge(self, other: Sightings) -> None:
        """Add what another run has seen."""
        self.halvings = max(self.halvings, other.halvings)
        self.counts.update(other.counts)
        self._resample()
        self._make_room()

    def samples(self, state: int) -> bool:
        """Whether *state* is one of those that are counted."""
        return not state & ((1 << self.halvings) - 1)

    @property
    def distinct(self) -> int:
        """How many states were seen; an estimate once some are left out."""
        return len(self.counts) << self.halvings

    @property
    def unseen(self) -> float:
        """The chance that the next look is at a state that was never seen.

        Looks have to be independent: an example that stays where it is looks once.

        Source: I. J. Good, The population frequencies of species and the estimation of
        population parameters, Biometrika 40 (1953): the share of looks that were the
        only one at their state.
        """
        looks = self.counts.total()
        return sum(nr == 1 for nr in self.counts.values()) / looks if looks else 1.0

    def _make_room(self) -> None:
        while len(self.counts) > LIMIT:
            self.halvings += 1
            self._resample()

    def _resample(self) -> None:
        kept = {state: nr for state, nr in self.counts.items() if self.samples(state)}
        self.counts = Counter(kept)
