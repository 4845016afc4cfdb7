"""Declaring what must hold. A function's docstring is the message of its violation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hotplug_model.arrays import ExtentMask
from hotplug_model.errors import KernelRefusal
from hotplug_model.extents import Extents, Sees
from hotplug_model.kernel import Kernel
from hotplug_model.parts import PARTS, ROWS
from hotplug_model.pfn import PfnRange
from hotplug_model.registry import Registry
from hotplug_model.state.ledger import Law as BrokenLaw

Always: TypeAlias = Callable[[Extents], ExtentMask]
By: TypeAlias = Callable[[Extents], NDArray[np.int64] | None]
Law: TypeAlias = Callable[[Extents], list[PfnRange]]
Across: TypeAlias = Callable[[Kernel, KernelRefusal | None, Kernel], list[PfnRange]]
Sometimes: TypeAlias = Callable[[Extents], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """A statement about the machine; exactly one of the four checks is set."""

    name: str
    doc: str
    quiescent: bool = False
    """Whether it holds between operations only."""
    sees: Sees = Sees.ROW
    """How much an ``always`` check judges a row by. Those that ask walkers see what these
    see."""
    wrong_to_see: Always | None = None
    """The only rows with which one that asks walkers can find fault: some of those that
    :func:`must_not_see` returns."""
    always: Always | None = None
    """The offending rows, at every milestone."""
    by: By | None = None
    """A number for each row by which the check judges it, besides what rows are judged by;
    None if it can find no fault."""
    law: Law | None = None
    """The offending ranges, for statements about sums and whole tables."""
    reads: frozenset[str] = ROWS
    """What an ``always`` check or a ``law`` depends on, of the parts and facts in
    :mod:`~hotplug_model.parts`: it is not asked again about what it held for."""
    of_ledger: tuple[BrokenLaw, ...] = ()
    """Breaches of these in the ledger are what the ``law`` reports."""
    across: Across | None = None
    """The offending ranges, from before an operation to after it."""

    @property
    def message(self) -> str:
        """First line of the docstring: the only wording of the violation."""
        return self.doc.partition("\n")[0]

    @property
    def source(self) -> str:
        """What the docstring names as the authority."""
        return " ".join(self.doc.partition("Source:")[2].split())


INVARIANTS: Registry[Invariant] = Registry("invariant")
SOMETIMES: Registry[Sometimes] = Registry("sometimes property")


def _doc(check: Callable[..., object]) -> str:
    return cleandoc(check.__doc__ or "")


def always(
    *,
    quiescent: bool = False,
    wrong_to_see: Always | None = None,
    by: By | None = None,
    reads: str = "",
) -> Callable[[Always], Always]:
    """Register a check that returns the offending rows, asked at every milestone.

    It judges a row by what that holds, and by the number that *by* gives it; *reads* names
    the parts of the kernel that this number depends on. One that judges it by what walkers
    make of it, and finds fault only with rows that are *wrong_to_see*, is not asked where there
    is none.
    """

    def register(check: Always) -> Always:
        name = check.__name__
        INVARIANTS.add(
            name,
            Invariant(
                name=name,
                doc=_doc(check),
                quiescent=quiescent,
                sees=Sees.MACHINE if wrong_to_see else Sees.ROW,
                wrong_to_see=wrong_to_see,
                always=check,
                by=by,
                reads=ROWS | named_parts(reads),
            ),
        )
        return check

    return register


def law(
    *of_ledger: BrokenLaw, reads: str, quiescent: bool = False, by: By | None = None
) -> Callable[[Law], Law]:
    """Register a check of sums, spans or tables that returns the offending ranges.

    Those that are breaches of *of_ledger* say who committed them. *reads* names the parts
    of the kernel that the check depends on, with spaces between them. One that judges rows
    after all, by what they hold and by the number that *by* gives, but reports less than
    rows, says so.
    """
    parts = named_parts(reads)

    def register(check: Law) -> Law:
        name = check.__name__
        invariant = Invariant(name=name, doc=_doc(check), quiescent=quiescent, law=check,
            of_ledger=of_ledger, reads=parts, by=by)  # fmt: skip
        INVARIANTS.add(name, invariant)
        return check

    return register


def named_parts(reads: str) -> frozenset[str]:
    """The parts of a kernel with these names; a wrong one is a bug of the caller."""
    parts = frozenset(reads.split())
    if unknown := parts - set(PARTS):
        raise ValueError(f"no parts of a kernel: {', '.join(sorted(unknown))}")
    return parts


def across(check: Across) -> Across:
    """Register a check that compares the machine before and after an operation."""
    name = check.__name__
    INVARIANTS.add(name, Invariant(name=name, doc=_doc(check), quiescent=True, across=check))
    return check


def sometimes(check: Sometimes) -> Sometimes:
    """Register a state that the suite must reach, or the invariants prove nothing."""
    return SOMETIMES.add(check.__name__, check)


def broken(x: Extents, *laws: BrokenLaw) -> list[PfnRange]:
    """Where the ledger says that one of *laws* was broken."""
    if not x.kernel.ledger.breaches:
        return []
    return sorted({entry.pfns for entry in x.kernel.ledger.breaches if entry.law in laws})
