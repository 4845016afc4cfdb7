"""Known defects of mainline, as data: what shows, exactly when, and why it is real.

A run that meets one reports it apart and goes on; ``--strict`` makes it count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from hotplug_model.extents import Extents
from hotplug_model.pfn import PfnRange
from hotplug_model.registry import Registry

Explains: TypeAlias = Callable[[Extents, PfnRange, str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDefect:
    """A defect that mainline has."""

    name: str
    invariants: tuple[str, ...]
    """What it violates."""
    doc: str
    source: str
    """The kernel functions that prove it, in the order of their stores."""
    explains: Explains
    """Whether a violation at a range and milestone is this defect and nothing else."""


DEFECTS: Registry[KnownDefect] = Registry("known defect")
