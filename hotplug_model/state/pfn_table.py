"""Everything the kernel keeps per page frame, stored as maximal runs.

The memmap of a machine is piecewise constant. What the checker looks at, the extents,
then *is* the state: nothing has to be recomputed after a write.
"""

from __future__ import annotations

import numpy as np

from hotplug_model.state.runs import RunTable

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
    "memory",
    "linear_map",
    "users",
)


class PfnTable(RunTable):
    """One run a range of pfns that are alike; columns are int32."""

    __slots__ = ()

    INDEX = {name: index for index, name in enumerate(COLUMNS)}
    ABSENT = np.array([0, 0, 0, 0, 0, 0, 0, 0, -1, -1, 0, 0, 0, 0], np.int32)
