"""A table of maximal runs: one row a range on which no column changes.

Hotplug writes ranges, not pages. Tables of the kernel's per-page state therefore hold
one value a run rather than one a page: a snapshot is one small copy, and 3 TiB of pmem
cost what two sections cost. The tests hold a page-at-a-time twin against it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hotplug_model.arrays import Pfns
from hotplug_model.pfn import PfnRange


class RunTable:
    """Runs in order, covering a range without gaps. Subclasses name the columns.

    A column is an array of shape (nr_runs,). Writes cut runs at both ends of the range;
    :meth:`merge` joins equal neighbours again.
    """

    __slots__ = ("_cells", "_end", "_start", "nr_runs")

    INDEX: ClassVar[dict[str, int]]
    """Place of each column."""
    ABSENT: ClassVar[NDArray[Any]]
    """(nr_columns,): what a table holds before the first write; its dtype is the table's."""

    def __init__(self, everything: PfnRange, capacity: int = 64) -> None:
        # Behind the first pfn of each run comes the pfn behind them all.
        self._start = np.zeros(capacity + 1, np.int64)
        self._cells = np.zeros((capacity, len(self.ABSENT)), self.ABSENT.dtype)
        self._start[:2] = everything.start_pfn, everything.end_pfn
        self._cells[0] = self.ABSENT
        self._end = everything.end_pfn
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
        return self._start[1 : self.nr_runs + 1]

    @property
    def cells(self) -> NDArray[Any]:
        """(nr_runs, nr_columns): every column of every run."""
        return self._cells[: self.nr_runs]

    def column(self, name: str) -> NDArray[Any]:
        """(nr_runs,): one column of every run."""
        return self._cells[: self.nr_runs, self.INDEX[name]]

    def at(self, pfn: int, name: str) -> int:
        """One column at one pfn."""
        return int(self._cells[self._run_of(pfn), self.INDEX[name]])

    def overlapping(self, pfns: PfnRange) -> slice:
        """Runs that hold at least one of *pfns*."""
        first = self._run_of(pfns.start_pfn)
        if pfns.nr_pages <= 0:
            return slice(first, first)
        last = int(self._start[: self.nr_runs].searchsorted(pfns.end_pfn, "left"))
        return slice(first, last)

    def within(self, pfns: PfnRange, name: str) -> NDArray[Any]:
        """One column of the runs that overlap *pfns*."""
        return self._cells[self.overlapping(pfns), self.INDEX[name]]

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
            self._cells[runs, self.INDEX[name]] = value

    def set_bits(self, pfns: PfnRange, name: str, bits: int) -> None:
        """OR *bits* into a column."""
        # Cut first, here and below: it may replace the array that is written.
        runs = self.cut(pfns)
        self._cells[runs, self.INDEX[name]] |= int(bits)

    def clear_bits(self, pfns: PfnRange, name: str, bits: int) -> None:
        """AND *bits* out of a column."""
        runs = self.cut(pfns)
        self._cells[runs, self.INDEX[name]] &= ~int(bits)

    def add(self, pfns: PfnRange, name: str, value: int) -> None:
        """Add *value* to a column."""
        runs = self.cut(pfns)
        self._cells[runs, self.INDEX[name]] += value

    def assign(self, pfns: PfnRange, name: str, values: NDArray[Any]) -> None:
        """Store *values*, one for each run of ``cut(pfns)``."""
        runs = self.cut(pfns)
        self._cells[runs, self.INDEX[name]] = values

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
            self._start[kept] = self._end
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
        if n == len(self._cells):
            self._start = np.concatenate((self._start, self._start))
            self._cells = np.concatenate((self._cells, self._cells))
        self._start[index + 1 : n + 2] = self._start[index : n + 1]
        self._cells[index + 1 : n + 1] = self._cells[index:n]
        self._start[index] = pfn
        self._cells[index] = self._cells[index - 1]
        self.nr_runs = n + 1
        return index
