"""Known defects of mainline, as data: what shows, exactly when, and why it is real.

A run that meets one reports it apart and goes on; ``--strict`` makes it count. None of
the conditions names an operation: they describe states of the machine, so that a
violation which merely happens at the same time is not excused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc
from typing import TypeAlias

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import RefState
from hotplug_model.pfn import PfnRange
from hotplug_model.registry import Registry
from hotplug_model.state.ledger import Cause, Entry, Law

Explains: TypeAlias = Callable[[Extents], ExtentMask]

WALKERS_SEE = (
    "walkers_take_no_zone_device_page",
    "walkers_read_no_poisoned_page",
    "walkers_take_no_stale_page",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDefect:
    """A defect that mainline has."""

    name: str
    invariants: tuple[str, ...]
    """What it violates."""
    rows: Explains
    """Rows on which a violation of these is this defect and nothing else."""
    quiescent: bool = False
    """Whether it is still there when no operation is in flight."""
    causes: tuple[Cause, ...] = ()
    """With which causes an entry of the ledger is this defect."""
    where: Callable[[Extents], bool] = lambda x: True
    """On which machines an entry of the ledger can be this defect."""
    accepted: bool = False
    """Whether the kernel's maintainers know of it and have said that it may be so."""
    undone: tuple[str, ...] = ()
    """The changes without which mainline has it no more; what built on such a kernel is to
    be judged apart from it."""

    @property
    def doc(self) -> str:
        """What happens, and the kernel functions that prove it."""
        return cleandoc(self.rows.__doc__ or "")

    def may_show(self, invariant: str, quiescent: bool) -> bool:
        """Whether it can violate *invariant*, in flight or when nothing is."""
        return invariant in self.invariants and (self.quiescent or not quiescent)

    def caused(self, x: Extents, entry: Entry) -> bool:
        """Whether it is what an entry of the ledger puts itself down to."""
        return entry.cause in self.causes and self.where(x)

    def explains(self, x: Extents, pfns: PfnRange) -> bool:
        """Whether the defect accounts for all of *pfns*."""
        return bool(self.rows(x)[x.touched([pfns])].all())


DEFECTS: Registry[KnownDefect] = Registry("known defect")


def known_defect(
    *invariants: str,
    quiescent: bool = False,
    causes: tuple[Cause, ...] = (),
    where: Callable[[Extents], bool] = lambda x: True,
    accepted: bool = False,
    undone: tuple[str, ...] = (),
) -> Callable[[Explains], Explains]:
    """Register the decorated function, which says on which rows the defect shows."""

    def register(rows: Explains) -> Explains:
        name = rows.__name__.replace("_", "-")
        defect = KnownDefect(
            name=name,
            invariants=invariants,
            rows=rows,
            quiescent=quiescent,
            causes=causes,
            where=where,
            accepted=accepted,
            undone=undone,
        )
        DEFECTS.add(name, defect)
        return rows

    return register


def accepted_race(*invariants: str, causes: tuple[Cause, ...]) -> Callable[[Explains], Explains]:
    """Register what the kernel knowingly lets happen: its source says who accepted it.

    It is told apart from defects, and counts as they do where ``strict`` is asked for.
    """
    return known_defect(*invariants, quiescent=True, causes=causes, accepted=True)


def no_rows(x: Extents) -> ExtentMask:
    """No row: of what the ledger alone tells."""
    return np.zeros(len(x.start_pfn), bool)


def map_state(x: Extents, state: RefState) -> ExtentMask:
    """Rows whose entry in pgmap_array is a map with its reference in *state*."""
    ids = [i for i, pgmap in x.kernel.pgmaps.items() if pgmap.ref == state]
    return np.isin(x.pgmap_array, ids)


def blamed_on(x: Extents, *what: Cause | Law) -> ExtentMask:
    """Rows of everything that the ledger puts down to one of *what*, with all that shares a
    page of vmemmap with it."""
    memmaps = [x.geometry.memmap_of(pfns) for pfns in put_down_to(x, *what)]
    return x.touched(x.geometry.described_by(pages) for pages in memmaps)


def put_down_to(x: Extents, *what: Cause | Law) -> list[PfnRange]:
    """What the ledger puts down to one of *what*."""
    # Members of two enumerations: what is equal as a number is not the same.
    causes = {each for each in what if isinstance(each, Cause)}
    laws = {each for each in what if isinstance(each, Law)}
    breaches = x.kernel.ledger.breaches
    return [entry.pfns for entry in breaches if entry.cause in causes or entry.law in laws]
