"""What an exhaustive search looks through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from hotplug_model.ops.every import UNUSUAL
from hotplug_model.trace import Trace

FULL = 1 << 30
"""Depth of a search that ends when there is nothing new."""

Path: TypeAlias = tuple[int, ...]
"""Which machine, then which operation of those that can be drawn, step by step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What is searched. It alone decides what is found, and in which order."""

    machines: tuple[Trace, ...]
    """One a boot layout; their events are not looked at. All of one kernel and geometry."""
    ops: tuple[str, ...] = ()
    """Kinds of operations; none named means all."""
    unusual: int = UNUSUAL
    """At most so many unusual choices an operation."""
    faults: bool = False
    """Whether each operation is tried with every single allocation failing, too."""
    symmetry: bool = True
    """Whether machines that differ in numbering only count as one."""
    violates: tuple[str, ...] | None = None
    """Look for a violation of exactly these invariants, and pass over any other."""
