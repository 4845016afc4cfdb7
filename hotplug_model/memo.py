"""What a verdict over rows depends on, as bytes: a look need not judge twice.

Most invariants and walkers judge a row by what it holds and by the zones that span it,
some by its pageblock or section. So the rows are cut into clusters, runs of whole
sections, and a cluster that was judged sound once is sound wherever it appears again.

```
section    |-------|-------|-------|-------|
rows       [   a   ][b][ c ][      d       ]
clusters   {   a   }{  b c  }{      d      }
```
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hotplug_model.extents import Extents
from hotplug_model.state.resource import SYSTEM_RAM
from hotplug_model.state.zone import PRESENT, SPANNED, START


def clusters(x: Extents) -> set[bytes]:
    """A key for every cluster of the view; equal keys get equal verdicts."""
    if x.clusters is None:
        x.clusters = compute_clusters(x)
    return x.clusters


def compute_clusters(x: Extents) -> set[bytes]:
    """clusters(), which a view asks for once."""
    size = max(x.geometry.pageblock_nr_pages, x.geometry.pages_per_section)
    columns = np.column_stack((x.cells, x.dev_pagemap, row_facts(x)))
    width = columns.dtype.itemsize * columns.shape[1]
    rows = np.ascontiguousarray(columns).view(f"V{width}").ravel().tolist()
    common = salt(x)
    keys: set[bytes] = set()
    joined: list[bytes] = []
    for starts_section, row in zip((x.start_pfn % size == 0).tolist(), rows, strict=True):
        if starts_section and joined:
            keys.add(common + b"".join(joined))
            joined = []
        joined.append(row)
    keys.add(common + b"".join(joined))
    return keys


def row_facts(x: Extents) -> NDArray[np.int64]:
    """(nr_extents, 4): what follows from where a row lies, as bits.

    The populated zones that span some of it; those that span all of it; and whether it
    lies beyond the span of its own zone, is System RAM, ends a subsection, and holds a
    pfn that begins a subsection, a pageblock, a largest buddy chunk, a section or a
    memory block. A row that a zone spans in part brings its place along.
    """
    zones = x.zone_numbers
    populated = np.flatnonzero(zones[:, PRESENT])
    start = zones[populated, START][:, np.newaxis]
    end = start + zones[populated, SPANNED][:, np.newaxis]
    weight = 1 << populated
    some = weight @ ((x.start_pfn < end) & (x.end_pfn > start))
    whole = weight @ ((x.start_pfn >= start) & (x.end_pfn <= end))
    subsection = x.geometry.pages_per_subsection
    ends_one = x.start_pfn // subsection != x.end_pfn // subsection
    bits = x.beyond_zone_span | system_ram(x) << 1 | ends_one << 2
    strides = {
        subsection, x.geometry.pageblock_nr_pages, x.geometry.max_order_nr_pages,
        x.geometry.pages_per_section, x.kernel.pages_per_block,
    }  # fmt: skip
    for bit, nr_pages in enumerate(sorted(strides), 3):
        bits = bits | x.holds_multiple_of(nr_pages) << bit
    place = np.where(some == whole, 0, x.start_pfn + 1)
    return np.column_stack((some, whole, bits, place))


def system_ram(x: Extents) -> NDArray[np.int64]:
    """Rows that some System RAM resource touches."""
    ram = np.zeros(len(x.start_pfn), np.int64)
    for pfns in x.kernel.iomem.named(SYSTEM_RAM):
        ram |= (x.start_pfn < pfns.end_pfn) & (x.end_pfn > pfns.start_pfn)
    return ram


def salt(x: Extents) -> bytes:
    """What every row depends on: the lock, and where in a chunk zones begin and end."""
    zones = x.zone_numbers[x.zone_numbers[:, PRESENT] > 0]
    ends = zones[:, START] + zones[:, SPANNED]
    size = max(x.geometry.max_order_nr_pages, x.geometry.pages_per_subsection)
    offsets = np.concatenate((zones[:, START] % size, ends % size))
    where = zones if offsets.any() else offsets[:0]
    return bytes((x.kernel.locks.mem_hotplug,)) + where.tobytes()
