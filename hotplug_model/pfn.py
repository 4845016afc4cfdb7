"""Page frame number ranges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class PfnRange:
    """Half-open range of page frame numbers, ``start_pfn <= pfn < end_pfn``."""

    start_pfn: int
    end_pfn: int

    @property
    def nr_pages(self) -> int:
        """Pages in the range; 0 or less if it is empty."""
        return self.end_pfn - self.start_pfn

    def __contains__(self, pfn: int) -> bool:
        return self.start_pfn <= pfn < self.end_pfn

    def contains(self, other: PfnRange) -> bool:
        """Whether every pfn of *other* is in this range."""
        return self.start_pfn <= other.start_pfn and other.end_pfn <= self.end_pfn

    def overlaps(self, other: PfnRange) -> bool:
        """Whether some pfn is in both ranges."""
        return self.start_pfn < other.end_pfn and other.start_pfn < self.end_pfn

    def intersection(self, other: PfnRange) -> PfnRange:
        """What both have; empty (``nr_pages <= 0``) if they do not overlap."""
        start = max(self.start_pfn, other.start_pfn)
        return PfnRange(start, min(self.end_pfn, other.end_pfn))

    def is_aligned(self, nr_pages: int) -> bool:
        """Whether both ends are multiples of *nr_pages*."""
        return not (self.start_pfn % nr_pages or self.end_pfn % nr_pages)

    def widened(self, nr_pages: int) -> PfnRange:
        """The smallest range that holds this one and is aligned to *nr_pages*."""
        start = self.start_pfn // nr_pages * nr_pages
        return PfnRange(start, -(-self.end_pfn // nr_pages) * nr_pages)

    def __str__(self) -> str:
        return f"[{self.start_pfn:#x}-{self.end_pfn:#x})"


def merge_ranges(ranges: Iterable[PfnRange]) -> tuple[PfnRange, ...]:
    """Join neighbours that touch. *ranges* are sorted and do not overlap."""
    merged: list[PfnRange] = []
    for pfns in ranges:
        touches = bool(merged) and merged[-1].end_pfn == pfns.start_pfn
        start = merged.pop().start_pfn if touches else pfns.start_pfn
        merged.append(PfnRange(start, pfns.end_pfn))
    return tuple(merged)
