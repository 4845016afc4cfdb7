"""Applies operations and evaluates every registered invariant on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from hotplug_model import steps
from hotplug_model.arrays import ExtentMask
from hotplug_model.contexts import RETURNS
from hotplug_model.defects import DEFECTS
from hotplug_model.errors import KernelRefusal
from hotplug_model.extents import Extents
from hotplug_model.invariants import INVARIANTS, SOMETIMES, Invariant
from hotplug_model.kernel import Kernel
from hotplug_model.memo import clusters
from hotplug_model.ops import Op
from hotplug_model.parts import ROWS, facts_of, joined, parts_of
from hotplug_model.pfn import PfnRange
from hotplug_model.state.faults import Allocation

QUIESCENT = "quiescent"
"""The milestone behind an operation, when nothing is in flight."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken invariant, where, and at which milestone of the operation."""

    invariant: str
    pfns: tuple[PfnRange, ...]
    milestone: str
    defect: str | None = None
    """The known defect of mainline that this is an instance of, if any."""
    operation: str = ""
    """Which operation broke it, if that may be longer ago."""

    @property
    def message(self) -> str:
        """What it means, one sentence."""
        return INVARIANTS[self.invariant].message

    @property
    def source(self) -> str:
        """The kernel source that is the authority."""
        return INVARIANTS[self.invariant].source

    def __str__(self) -> str:
        shown = [str(pfns) for pfns in self.pfns[:4]]
        if len(self.pfns) > 4:
            shown.append(f"and {len(self.pfns) - 4} more")
        where = f"{self.invariant} at {', '.join(shown)} ({self.milestone})"
        blame = f" By {self.operation}." if self.operation else ""
        return f"{where}: {self.message}{blame}"


@dataclass(slots=True)
class Outcome:
    """What one operation did."""

    refusal: KernelRefusal | None
    violations: list[Violation]
    """Everything that did not hold, known defects of mainline apart."""
    known: list[Violation]
    """Instances of known defects of mainline."""
    milestones: list[str] = field(default_factory=list)
    failed: Allocation | None = None
    """What the operation asked for and did not get, because its ``fail_at`` says so."""
    state: int = 0
    """The state behind it; see :attr:`Checker.state`."""

    @property
    def refused_one(self) -> bool:
        """Whether one of several operations in flight was refused."""
        return any(f": {RETURNS} -" in milestone for milestone in self.milestones)


class Checker:
    """One machine under test. Remembers what it has judged sound.

    *sound* may be shared by machines of the same rules and geometry that are judged by the
    same *invariants* (None: by all), and *reached*, the names of ``sometimes`` properties
    that were true, by all that count together.
    """

    def __init__(
        self,
        kernel: Kernel,
        strict: bool = False,
        sound: set[bytes] | None = None,
        reached: set[str] | None = None,
        invariants: Iterable[Invariant] | None = None,
    ) -> None:
        self.kernel = kernel
        self.strict = strict
        self._invariants = tuple(INVARIANTS if invariants is None else invariants)
        self.reached: set[str] = set() if reached is None else reached
        self._sound: set[bytes] = set() if sound is None else sound
        layout = repr(kernel.layout).encode()
        self._kinds = hashlib.blake2b(layout, digest_size=4).digest()
        self._seen: tuple[bytes, Extents] | None = None
        self._parts: dict[str, bytes] = {}
        """Those of the last look."""
        self.state = 0
        """The state at the last look, as a number: equal in equal states, in any process."""

    def boot(self) -> list[Violation]:
        """What does not hold right after boot."""
        return [v for v in self.look(QUIESCENT) if v.defect is None or self.strict]

    def apply(self, op: Op) -> Outcome:
        """Carry *op* out in place, looking at every milestone and at the end."""
        before = self.kernel.snapshot()
        found: list[Violation] = []
        milestones: list[str] = []

        def at(milestone: str) -> None:
            milestones.append(milestone)
            found.extend(self.look(milestone))

        refusal, failed = carry_out(self.kernel, op, at)
        found.extend(self.look(QUIESCENT))
        found.extend(self.compare(before, refusal))
        unique = list({(v.invariant, v.pfns, v.defect): v for v in reversed(found)}.values())
        known = [v for v in unique if v.defect and not self.strict]
        return Outcome(refusal, [v for v in unique if v not in known], known, milestones, failed,
            self.state)

    def look(self, milestone: str, state: bytes | None = None) -> list[Violation]:
        """Everything that does not hold right now; *state* if it was just taken."""
        quiescent = milestone == QUIESCENT
        asked = [each for each in self._invariants if quiescent or not each.quiescent]
        if not asked:
            return []
        state = self.take_state() if state is None else state
        self.state = as_number(state)
        key = state + (b"q" if quiescent else b"m")
        if key in self._sound:
            return []
        x = self._view(state)
        if quiescent and len(self.reached) < len(SOMETIMES):
            self.reached |= {
                name for name, reach in SOMETIMES.items() if name not in self.reached and reach(x)
            }
        keys = self._keys(key[-1:])
        unsure = {reads for reads, each in keys.items() if each not in self._sound}
        rows: set[bytes] = set()
        if ROWS in unsure and any(each.asks_walkers for each in asked):
            # All others judge rows in less time than it takes to tell them apart.
            rows = {self._kinds + key[-1:] + cluster for cluster in clusters(x)}
            x.wide_only = rows <= self._sound
        found = [
            violation
            for invariant in asked
            if invariant.reads in unsure
            if not x.wide_only or invariant.asks_walkers or invariant.law
            for violation in self._judge(invariant, x, milestone)
        ]
        broken = {INVARIANTS[violation.invariant].reads for violation in found}
        self._sound |= {keys[reads] for reads in unsure - broken}
        if ROWS not in broken:
            self._sound |= rows
        if not found:
            self._sound.add(key)
        return found

    def _keys(self, kind: bytes) -> dict[frozenset[str], bytes]:
        """For each set of parts that some invariant reads, what they hold, as a key."""
        parts = self._parts | facts_of(self.kernel)
        keys = {}
        for reads in {i.reads for i in self._invariants if i.across is None}:
            names = sorted(reads)
            held = joined({name: parts[name] for name in names})
            digest = hashlib.blake2b(held, digest_size=16, key=" ".join(names).encode()[:64])
            keys[reads] = self._kinds + kind + digest.digest()
        return keys

    def compare(self, before: Kernel, refusal: KernelRefusal | None) -> list[Violation]:
        """What does not hold from before the operation to after it."""
        x = self.kernel.extents()
        return [
            violation
            for invariant in self._invariants
            if invariant.across is not None
            for violation in self._attribute(
                invariant, tuple(invariant.across(before, refusal, self.kernel)), x, QUIESCENT
            )
        ]

    def _judge(self, invariant: Invariant, x: Extents, milestone: str) -> list[Violation]:
        if invariant.always is not None:
            rows = invariant.always(x)
            return self._attribute_rows(invariant, rows, x, milestone) if rows.any() else []
        if invariant.law is not None:
            pfns = tuple(invariant.law(x))
            found, rest = self._attribute_entries(invariant, pfns, x, milestone)
            found += self._attribute(invariant, rest, x, milestone)
            return [replace(v, operation=self._blamed(invariant, v)) for v in found]
        return []

    def _attribute_entries(
        self, invariant: Invariant, pfns: tuple[PfnRange, ...], x: Extents, milestone: str
    ) -> tuple[list[Violation], tuple[PfnRange, ...]]:
        """What the ledger says of *pfns*, each entry by its own cause; and the others."""
        entries = [
            entry
            for entry in self.kernel.ledger.breaches
            if pfns and entry.law in invariant.of_ledger and entry.pfns in pfns
        ]
        found: dict[Violation, None] = {}
        for entry in entries:
            known = [d.name for d in DEFECTS if d.caused(x, entry)]
            defect = next((n for n in known if invariant.name in DEFECTS[n].invariants), None)
            found[Violation(invariant.name, (entry.pfns,), milestone, defect)] = None
        said = {entry.pfns for entry in entries}
        return list(found), tuple(each for each in pfns if each not in said)

    def _blamed(self, invariant: Invariant, violation: Violation) -> str:
        """The operation that broke it first, if the ledger says so."""
        for entry in self.kernel.ledger.breaches:
            if entry.law in invariant.of_ledger and entry.pfns in violation.pfns:
                return entry.operation
        return ""

    def _attribute_rows(
        self, invariant: Invariant, rows: ExtentMask, x: Extents, milestone: str
    ) -> list[Violation]:
        """One violation for each known defect that explains some rows, one for the rest."""
        found = []
        for defect in DEFECTS:
            if defect.may_show(invariant.name, milestone == QUIESCENT):
                explained = rows & defect.rows(x)
                if explained.any():
                    where = x.where(explained)
                    found.append(Violation(invariant.name, where, milestone, defect.name))
                    rows = rows & ~explained
        if rows.any():
            found.append(Violation(invariant.name, x.where(rows), milestone))
        return found

    def _attribute(
        self, invariant: Invariant, pfns: tuple[PfnRange, ...], x: Extents, milestone: str
    ) -> list[Violation]:
        """As for rows, for laws: a defect must account for the whole of a range."""
        found = []
        for defect in DEFECTS:
            if pfns and defect.may_show(invariant.name, milestone == QUIESCENT):
                explained = tuple(p for p in pfns if defect.explains(x, p))
                if explained:
                    found.append(Violation(invariant.name, explained, milestone, defect.name))
                    pfns = tuple(p for p in pfns if p not in explained)
        if pfns:
            found.append(Violation(invariant.name, pfns, milestone))
        return found

    def take_state(self) -> bytes:
        """What tells the state right now from any other of this rules and geometry."""
        self._parts = parts_of(self.kernel)
        state = joined(self._parts)
        return hashlib.blake2b(state, digest_size=16, key=self._kinds).digest()

    def now(self) -> int:
        """The state right now, without a look at it."""
        return as_number(self.take_state())

    def _view(self, state: bytes) -> Extents:
        """The view of *state*; the last milestone of an operation is often its end."""
        if self._seen is None or self._seen[0] != state:
            self._seen = (state, self.kernel.extents())
        return self._seen[1]


def as_number(state: bytes) -> int:
    """A digest as a number whose bits are as good as random."""
    return int.from_bytes(state[:8])


def carry_out(
    kernel: Kernel, op: Op, at: Callable[[str], None] | None = None
) -> tuple[KernelRefusal | None, Allocation | None]:
    """Carry *op* out in place: the refusal, and what could not be allocated, if any."""
    kernel.notified.clear()
    kernel.ledger.operation = op
    kernel.faults.arm(op.fail_at)
    try:
        refusal = steps.run(op.steps(kernel), at)
        failed = kernel.faults.failed
    finally:
        kernel.faults.arm(None)
    kernel.pfns.merge()
    kernel.vmemmap.merge()
    return refusal, failed
