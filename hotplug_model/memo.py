"""What a verdict over rows depends on, as bytes: a look need not judge twice.

Most invariants and walkers judge a row by what it holds and by the zones that span it: a
row that was judged sound once is sound wherever it appears again. Some walkers judge by
the pageblock or the section. For them rows are cut into clusters, runs of whole sections.

```
section    |-------|-------|-------|-------|
rows       [   a   ][b][ c ][      d       ]
clusters   {   a   }{  b c  }{      d      }
```
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import compress, pairwise

import numpy as np

from hotplug_model.arrays import ExtentMask, Pfns
from hotplug_model.contiguous import contiguous_zones
from hotplug_model.extents import Extents
from hotplug_model.parts import system_ram
from hotplug_model.state.zone import PRESENT, SPANNED, START


class Keys:
    """The rows of a view, and its clusters: with the same rules and geometry equal keys get
    equal verdicts, whatever the machine was booted with."""

    def __init__(self, x: Extents) -> None:
        lie = where_rows_lie(x)
        kernel = x.kernel
        common = kernel.locks.of_hotplug + bytes((kernel.layout.holes_in_zone,)) + lie.salt
        spanned = lie.spans_whole[x.zone_index, np.arange(len(x.start_pfn))]
        cells = np.column_stack((x.cells, x.dev_pagemap, spanned))
        held = cells.view(f"V{cells.dtype.itemsize * cells.shape[1]}").ravel().tolist()
        self.rows = [common + fact + row for fact, row in zip(lie.facts, held, strict=True)]
        self.contiguous = contiguous_zones(kernel).tobytes()
        """Who judges by the pageblock may skip a test where a zone has no hole."""
        self.ends = lie.cluster_ends
        """The row with which each cluster begins, and the number of rows."""

    @property
    def clusters(self) -> list[bytes]:
        """A key for every cluster."""
        salt = b"c" + self.contiguous
        return [salt + b"".join(self.rows[first:end]) for first, end in pairwise(self.ends)]

    def rows_of(self, clusters: list[bool]) -> ExtentMask:
        """The rows of some of the clusters."""
        return np.repeat(clusters, np.diff(self.ends))

    def without(self, broken: ExtentMask) -> list[bytes]:
        """Keys of all rows that are not *broken*, and of clusters that hold no such row."""
        rows = [row for row, bad in zip(self.rows, broken.tolist(), strict=True) if not bad]
        whole = ~np.logical_or.reduceat(broken, self.ends[:-1])
        return rows + list(compress(self.clusters, whole.tolist()))


@lru_cache(maxsize=1)
def keys_of(x: Extents) -> Keys:
    """The keys of a view, computed once."""
    return Keys(x)


@dataclass(frozen=True, slots=True)
class WhereRowsLie:
    """What follows from where each row lies, whatever it holds."""

    salt: bytes
    """What every row depends on."""
    facts: list[bytes]
    """A row's own; see :func:`row_facts`."""
    spans_whole: ExtentMask
    """(nr_zones, nr_extents): whether the span of a zone covers all of a row."""
    cluster_ends: list[int]
    """The row with which each cluster begins, and the number of rows."""


def where_rows_lie(x: Extents) -> WhereRowsLie:
    """The same for many views."""
    geometry = x.geometry
    section = max(geometry.pageblock_nr_pages, geometry.pages_per_section)
    chunk = max(geometry.max_order_nr_pages, geometry.pages_per_subsection)
    sizes = (
        section, chunk, geometry.pages_per_subsection, geometry.pageblock_nr_pages,
        geometry.max_order_nr_pages, geometry.pages_per_section, x.kernel.pages_per_block,
    )  # fmt: skip
    bounds = x.start_pfn.tobytes() + x.end_pfn[-1:].tobytes()
    zones = x.zone_numbers[:, (START, SPANNED, PRESENT)].tobytes()
    return compute_where(bounds, zones, system_ram(x.kernel), sizes)


@lru_cache(maxsize=5000)
def compute_where(start: bytes, zones: bytes, ram: bytes, sizes: tuple[int, ...]) -> WhereRowsLie:
    """where_rows_lie(), of tables of 64-bit numbers."""
    bounds = np.frombuffer(start, np.int64)
    numbers = np.frombuffer(zones, np.int64).reshape(-1, 3)
    regions = np.frombuffer(ram, np.int64).reshape(-1, 2)
    section, chunk, *strides = sizes
    facts = row_facts(bounds, numbers, regions, strides)
    begins = np.flatnonzero(bounds[:-1] % section == 0).tolist()
    ends = [0, *(row for row in begins if row), len(facts)]
    return WhereRowsLie(salt(numbers, chunk), facts, spans_whole(bounds, numbers), ends)


def spans_whole(bounds: Pfns, zones: Pfns) -> ExtentMask:
    """(nr_zones, nr_extents): whether the span of a zone covers all of a row."""
    start, end = zones[:, 0, np.newaxis], (zones[:, 0] + zones[:, 1])[:, np.newaxis]
    return (bounds[:-1] >= start) & (bounds[1:] <= end)


def row_facts(bounds: Pfns, zones: Pfns, ram: Pfns, strides: list[int]) -> list[bytes]:
    """What follows from where each row lies: yes or no to each of these, and a place.

    Does a populated zone span some of it, or all of it; is some of it System RAM; does it
    end a subsection; does it hold a pfn that begins a subsection, a pageblock, a largest
    buddy chunk, a section or a memory block (*strides*, a subsection first). A row that a
    populated zone spans in part brings its place along.
    """
    start_pfn, end_pfn = bounds[:-1], bounds[1:]
    zones = np.where(zones[:, 2, np.newaxis] > 0, zones, 0)
    start, end = zones[:, 0, np.newaxis], (zones[:, 0] + zones[:, 1])[:, np.newaxis]
    some = (start_pfn < end) & (end_pfn > start)
    whole = spans_whole(bounds, zones)
    in_ram = (start_pfn < ram[:, 1, np.newaxis]) & (end_pfn > ram[:, 0, np.newaxis])
    ends_subsection = start_pfn // strides[0] != end_pfn // strides[0]
    begins = [-start_pfn % nr_pages < end_pfn - start_pfn for nr_pages in strides]
    answers = np.vstack((some, whole, in_ram.any(axis=0), ends_subsection, *begins))
    in_part = (some != whole).any(axis=0)
    places = np.where(in_part, start_pfn + 1, 0).astype(np.int64)
    bits = np.packbits(answers, axis=0).T
    return [row.tobytes() + place.tobytes() for row, place in zip(bits, places, strict=True)]


def salt(zones: Pfns, chunk: int) -> bytes:
    """Where in a chunk populated zones begin and end."""
    populated = zones[zones[:, 2] > 0]
    ends = populated[:, 0] + populated[:, 1]
    offsets = np.concatenate((populated[:, 0] % chunk, ends % chunk))
    where = populated[:, :2] if offsets.any() else offsets[:0]
    return where.tobytes()
