"""Everything the kernel keeps per page frame, stored as maximal runs.

The memmap of a machine is piecewise constant: hotplug writes ranges, not pages. So the
columns hold one value a *run* (a range of pfns on which no column changes) rather than
one a page. What the checker looks at, the extents, then *is* the state: nothing has to
be recomputed after a write, a snapshot is one small copy, and 3 TiB of pmem cost what
two sections cost. The tests hold a page-at-a-time twin against it.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from hotplug_model.arrays import Column, Pfns
from hotplug_model.pfn import PfnRange

COLUMNS = (
    "section_flags",
    "subsection",
    "memmap",
    "content",
    "zone",
    "nid",
    "page_flags",
    "refcount",
    "page_pgmap",
    "pgmap_array",
    "block",
)
_INDEX = {name: index for index, name in enumerate(COLUMNS)}
_ABSENT = np.array([0, 0, 0, 0, 0, 0, 0, 0, -1, -1, 0], np.int32)


class PfnTable:
    """Runs in pfn order, covering ``all_pfns`` without gaps.

    A column is an int32 array of shape (nr_runs,). Writes cut runs at both ends of the
    range; :meth:`merge` joins equal neighbours again.
    """

    __slots__ = ("_cells", "_end", "_start", "nr_runs")

    def __init__(self, all_pfns: PfnRange, capacity: int = 64) -> None:
        self._start = np.zeros(capacity, np.int64)
        self._cells = np.zeros((capacity, len(COLUMNS)), np.int32)
        self._cells[0] = _ABSENT
        self._end = all_pfns.end_pfn
        self.nr_runs = 1

    def copy(self) -> Self:
        """An independent copy."""
        twin = object.__new__(type(self))
        twin._start = self._start.copy()
        twin._cells = self._cells.copy()
        twin._end = self._end
        twin.nr_runs = self.nr_runs
        return twin

    # Reading

    @property
    def start_pfn(self) -> Pfns:
        """(nr_runs,): first pfn of each run."""
        return self._start[: self.nr_runs]

    @property
    def end_pfn(self) -> Pfns:
        """(nr_runs,): pfn behind the last of each run."""
        return np.append(self._start[1 : self.nr_runs], self._end)

    @property
    def cells(self) -> Column:
        """(nr_runs, nr_columns): every column of every run."""
        return self._cells[: self.nr_runs]

    def column(self, name: str) -> Column:
        """(nr_runs,): one column of every run."""
        return self._cells[: self.nr_runs, _INDEX[name]]

    def at(self, pfn: int, name: str) -> int:
        """One column at one pfn."""
        return int(self._cells[self._run_of(pfn), _INDEX[name]])

    def overlapping(self, pfns: PfnRange) -> slice:
        """Runs that hold at least one of *pfns*."""
        first = self._run_of(pfns.start_pfn)
        if pfns.nr_pages <= 0:
            return slice(first, first)
        last = int(self._start[: self.nr_runs].searchsorted(pfns.end_pfn, "left"))
        return slice(first, last)

    def within(self, pfns: PfnRange, name: str) -> Column:
        """One column of the runs that overlap *pfns*."""
        return self._cells[self.overlapping(pfns), _INDEX[name]]

    def lengths(self, pfns: PfnRange) -> Pfns:
        """Pages of *pfns* in each run of :meth:`overlapping`."""
        runs = self.overlapping(pfns)
        start = np.maximum(self._start[runs], pfns.start_pfn)
        return np.minimum(self.end_pfn[runs], pfns.end_pfn) - start

    def fingerprint(self) -> bytes:
        """The same for equal tables, in any process."""
        return self.start_pfn.tobytes() + self._cells[: self.nr_runs].tobytes()

    # Writing

    def write(self, pfns: PfnRange, **values: int) -> None:
        """Store *values*, one a column, in every pfn of *pfns*."""
        runs = self.cut(pfns)
        for name, value in values.items():
            self._cells[runs, _INDEX[name]] = value

    def set_bits(self, pfns: PfnRange, name: str, bits: int) -> None:
        """OR *bits* into a column."""
        # Cut first, here and below: it may replace the array that is written.
        runs = self.cut(pfns)
        self._cells[runs, _INDEX[name]] |= bits

    def clear_bits(self, pfns: PfnRange, name: str, bits: int) -> None:
        """AND *bits* out of a column."""
        runs = self.cut(pfns)
        self._cells[runs, _INDEX[name]] &= ~bits

    def add(self, pfns: PfnRange, name: str, value: int) -> None:
        """Add *value* to a column."""
        runs = self.cut(pfns)
        self._cells[runs, _INDEX[name]] += value

    def assign(self, pfns: PfnRange, name: str, values: Column) -> None:
        """Store *values*, one for each run of ``cut(pfns)``."""
        runs = self.cut(pfns)
        self._cells[runs, _INDEX[name]] = values

    def cut(self, pfns: PfnRange) -> slice:
        """Make runs end where *pfns* do; the runs that are exactly *pfns*."""
        if pfns.nr_pages <= 0:
            return slice(0, 0)
        return slice(self._cut_at(pfns.start_pfn), self._cut_at(pfns.end_pfn))

    def merge(self) -> None:
        """Join neighbouring runs that are equal, so that equal states are equal bytes."""
        cells = self._cells[: self.nr_runs]
        keep = np.ones(self.nr_runs, bool)
        keep[1:] = (cells[1:] != cells[:-1]).any(axis=1)
        kept = int(np.count_nonzero(keep))
        if kept < self.nr_runs:
            self._start[:kept] = self._start[: self.nr_runs][keep]
            self._cells[:kept] = cells[keep]
            self.nr_runs = kept

    def _run_of(self, pfn: int) -> int:
        return int(self._start[: self.nr_runs].searchsorted(pfn, "right")) - 1

    def _cut_at(self, pfn: int) -> int:
        n = self.nr_runs
        if pfn >= self._end:
            return n
        index = int(self._start[:n].searchsorted(pfn, "left"))
        if index < n and self._start[index] == pfn:
            return index
        if n == len(self._start):
            self._start = np.concatenate((self._start, self._start))
            self._cells = np.concatenate((self._cells, self._cells))
        self._start[index + 1 : n + 1] = self._start[index:n]
        self._cells[index + 1 : n + 1] = self._cells[index:n]
        self._start[index] = pfn
        self._cells[index] = self._cells[index - 1]
        self.nr_runs = n + 1
        return index
