"""Names for the array shapes used everywhere, so that signatures state them."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

ExtentMask: TypeAlias = NDArray[np.bool_]
"""(nr_extents,): which rows of an :class:`~hotplug_model.extents.Extents`."""
Pfns: TypeAlias = NDArray[np.int64]
"""(n,): page frame numbers."""
Column: TypeAlias = NDArray[np.int32]
"""(nr_extents,): one field of every row."""
