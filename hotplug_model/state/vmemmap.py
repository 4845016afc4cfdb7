"""The memory behind the memmap: which page holds which struct pages.

``vmemmap`` is an array of struct pages in virtual memory, one for each pfn, mapped a
page at a time. Its pages are numbered as its addresses are: page 0 holds the struct page
of pfn 0. The table has a run for each range of them that is mapped alike.

```
pfns      |   0 .. 63   |   64 .. 127  | ...          4 KiB pages, 64-byte struct pages
vmemmap   |   page 0    |   page 1     | ...  page 511
mappings  |<----------------- one huge mapping ------------------->|
```
"""

from __future__ import annotations

import numpy as np

from hotplug_model.arrays import Pfns
from hotplug_model.flags import MappingLevel, MemmapOrigin
from hotplug_model.pfn import PfnRange
from hotplug_model.state.runs import RunTable

COLUMNS = ("level", "origin", "offset", "tail", "period", "phase", "shared", "page_table")
NOWHERE = -1
ORIGINS = tuple(MemmapOrigin)[1:]
MAPPED = int(MappingLevel.PTE)


class Vmemmap(RunTable):
    """One run a range of vmemmap pages that are mapped alike; columns are int64.

    ``level``       :class:`MappingLevel`
    ``origin``      :class:`MemmapOrigin` of what backs them
    ``offset``      frame that backs a page, less the page's number
    ``tail``        the one frame that all of them alias, else -1
    ``period``      deduplicated: vmemmap pages a compound page, else 0
    ``phase``       deduplicated: page at which a compound page starts
    ``shared``      1 if more than one add has used the backing page, 2 if one of them
                    took it for a page of PTEs
    ``page_table``  whether a page of PTEs exists for the huge region they lie in

    Frames of an altmap are pfns. What boot or the buddy allocator gave is numbered as
    the vmemmap page that it was given for, unless the boot layout says where it lies:
    one page of them can back one page of vmemmap only, so nothing is lost.
    """

    __slots__ = ("_live", "_print", "pgds", "unused_pmd_start")

    INDEX = {name: index for index, name in enumerate(COLUMNS)}
    ABSENT = np.array([0, 0, 0, NOWHERE, 0, 0, 0, 0], np.int64)

    def __init__(self, everything: PfnRange) -> None:
        super().__init__(everything)
        # What follows from the rows, until one is written: most operations write none.
        self._live: dict[MemmapOrigin, int] | None = None
        self._print: bytes | None = None
        self.unused_pmd_start = NOWHERE
        """``unused_pmd_start``: from here to the end of its huge page vmemmap is unused,
        though not marked yet; -1 if nothing is."""
        self.pgds: frozenset[int] = frozenset()
        """Top-level entries that every mm has: of boot's memmap. Others come to be known only
        where a kernel is late to tell."""

    def copy(self) -> Vmemmap:
        """An independent copy."""
        twin = super().copy()
        twin._live, twin._print = self._live, self._print
        twin.unused_pmd_start, twin.pgds = self.unused_pmd_start, self.pgds
        return twin

    def cut(self, pages: PfnRange) -> slice:
        """As every table does; what was known of the rows is not any more."""
        self._live = self._print = None
        return super().cut(pages)

    def merge(self) -> None:
        """Join equal neighbours."""
        self._print = None
        super().merge()

    def fingerprint(self) -> bytes:
        """The same for equal tables, in any process."""
        if self._print is None:
            self._print = super().fingerprint()
        numbers = (self.unused_pmd_start, *sorted(self.pgds))
        return self._print + np.array(numbers, np.int64).tobytes()

    def runs_of(self, pages: PfnRange) -> list[tuple[PfnRange, dict[str, int]]]:
        """The mapped part of *pages*, run by run, with the columns of each."""
        runs = self.overlapping(pages)
        starts, ends = self.start_pfn[runs].tolist(), self.end_pfn[runs].tolist()
        rows = self.cells[runs].tolist()
        return [
            (PfnRange(start, end).intersection(pages), dict(zip(COLUMNS, row, strict=True)))
            for start, end, row in zip(starts, ends, rows, strict=True)
            if row[0]
        ]

    def live_pages(self) -> dict[MemmapOrigin, int]:
        """Pages in use, by where they came from; one that is shared counts once."""
        if self._live is None:
            live = np.zeros(len(ORIGINS) + 1, np.int64)
            np.add.at(live, self.column("origin"), self.owned_pages())
            self._live = dict(zip(ORIGINS, live[1:].tolist(), strict=True))
        return self._live

    def owned_pages(self) -> Pfns:
        """(nr_runs,): pages that back each run and no run before it.

        Of a deduplicated compound page the first two; of aliases none, unless the page
        that they alias is not mapped at its own place any more.
        """
        start, end = self.start_pfn, self.end_pfn
        mapped = self.column("level") >= MAPPED
        period, phase = self.column("period"), self.column("phase")
        pages = np.where(mapped, end - start, 0)
        dedup = period > 0
        if dedup.any():
            pages[dedup] = owned_before(end[dedup] - phase[dedup], period[dedup]) - owned_before(
                start[dedup] - phase[dedup], period[dedup]
            )
        aliases = np.flatnonzero(mapped & (self.column("tail") != NOWHERE))
        pages[aliases] = 0
        for index in self.orphaned_tails(aliases):
            pages[index] = 1
        return pages

    def orphaned_tails(self, aliases: Pfns) -> list[int]:
        """Of *aliases* the first run for each tail page that only aliases hold."""
        held: set[int] = set()
        first: list[int] = []
        for index in aliases.tolist():
            tail = int(self.cells[index, self.INDEX["tail"]])
            if tail not in held and not self.at(tail, "level"):
                first.append(index)
            held.add(tail)
        return first


def owned_before(pages: Pfns, period: Pfns) -> Pfns:
    """How many of the first *pages* of a deduplicated range are no aliases."""
    compounds, rest = np.divmod(pages, period)
    return compounds * VMEMMAP_RESERVE_NR + np.minimum(rest, VMEMMAP_RESERVE_NR)


VMEMMAP_RESERVE_NR = 2
"""``VMEMMAP_RESERVE_NR``: vmemmap pages of a compound page that are real."""
