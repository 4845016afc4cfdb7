"""How a request is to be answered, told from what it means.

By columns and tables alone, and not by the functions in ``mm/`` that answer it. Where the
kernel is free to answer either way, or depends on what the model leaves to the request,
nothing is demanded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange

Arguments: TypeAlias = dict[str, Any]
Reasons: TypeAlias = Callable[[Kernel, Arguments], Iterator[int]]
Undone: TypeAlias = Callable[[Kernel, Kernel, Arguments], Iterator[PfnRange]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What there is to say to requests of one kind."""

    reasons: Reasons
    """Errnos for which the machine gives a reason, from before the request."""
    obstacles: Reasons
    """Those of them with which the request must not be granted."""
    undone: Undone
    """Where what was granted is not done, from before it and after it."""


def within(x: Extents, pfns: PfnRange, rows: ExtentMask) -> Iterator[PfnRange]:
    """Where *rows* are true inside *pfns*."""
    touched = x.touched([pfns]) & rows
    yield from (each.intersection(pfns) for each in x.where(touched))
