"""Applies operations and evaluates every registered invariant on the way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import TypeAlias

import numpy as np

from hotplug_model import steps
from hotplug_model.arrays import ExtentMask
from hotplug_model.contexts import RETURNS
from hotplug_model.defects import DEFECTS
from hotplug_model.errors import KernelRefusal
from hotplug_model.extents import Extents, Sees
from hotplug_model.invariants import INVARIANTS, SOMETIMES, Invariant
from hotplug_model.invariants.walkers import must_not_see, who_may_see
from hotplug_model.kernel import Kernel
from hotplug_model.memo import Keys, keys_of
from hotplug_model.ops import Op
from hotplug_model.parts import FACTS, ROWS, parts_of
from hotplug_model.pfn import PfnRange
from hotplug_model.questions import Questions, as_number, digest, digest_of, parts_read
from hotplug_model.state.faults import Allocation

QUIESCENT = "quiescent"
"""The milestone behind an operation, when nothing is in flight."""
MIDWAY, AT_REST = b"m", b"q"
"""What was judged sound at rest is so midway, where less is asked."""


Said: TypeAlias = tuple[str, str]
"""What is said of a violation wherever it is: :attr:`Violation.said`."""


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
    def said(self) -> Said:
        """The invariant, and the known defect of mainline or ""."""
        return self.invariant, self.defect or ""

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
        asked = tuple(INVARIANTS if invariants is None else invariants)
        self._across = [(each, each.across) for each in asked if each.across is not None]
        self.reached: set[str] = set() if reached is None else reached
        self._sound: set[bytes] = set() if sound is None else sound
        self._kinds = digest_of(kernel.layout)
        self._read = None if invariants is None else parts_read(asked)
        """The parts that what is asked depends on; None: all."""
        self._by_row = invariants is None or any(each.sees > Sees.ROW for each in asked)
        """Whether verdicts of single rows are remembered, and any midway: for few questions that
        costs more than to ask again."""
        lasting = (each for each in asked if not each.quiescent)
        self._midway = Questions(MIDWAY, lasting)
        self._at_rest = Questions(AT_REST, asked)
        self._seen: tuple[bytes, Extents] | None = None
        self._parts: dict[str, bytes] = {}
        """A digest of each, at the last look."""
        self._facts: dict[str, tuple[bytes, bytes]] = {}
        """A digest of each, and of the part that it follows from."""
        self.judged_by_row = False
        """Whether some look judged rows, which costs more than sums."""
        self.state = 0
        """The state at the last look that took one, as a number: equal in equal states, in any
        process."""

    def boot(self) -> list[Violation]:
        """What does not hold right after boot."""
        return [v for v in self.look(QUIESCENT) if self._counts(v)]

    def apply(self, op: Op, wanted: Collection[Said] | None = None) -> Outcome:
        """Carry *op* out in place, looking at every milestone and at the end.

        As soon as anything is violated but what is *wanted*, nobody looks any more, and
        :attr:`state` stays what it was then.
        """
        # Where nobody compares, no copy is needed.
        before = self.kernel.snapshot() if self._across else self.kernel
        found: list[Violation] = []
        milestones: list[str] = []

        def goes_on() -> bool:
            return wanted is None or all(v.said in wanted for v in found if self._counts(v))

        def at(milestone: str) -> None:
            milestones.append(milestone)
            if goes_on():
                found.extend(self.look(milestone))

        refusal, failed = carry_out(self.kernel, op, at)
        if goes_on():
            found.extend(self.look(QUIESCENT))
            found.extend(self.compare(before, refusal))
        unique = list({(v.invariant, v.pfns, v.defect): v for v in reversed(found)}.values())
        known = [v for v in unique if not self._counts(v)]
        return Outcome(refusal, [v for v in unique if v not in known], known, milestones, failed,
            self.state)

    def _counts(self, violation: Violation) -> bool:
        """Whether it is no known defect, or those count as well."""
        return violation.defect is None or self.strict

    def look(self, milestone: str, state: bytes | None = None) -> list[Violation]:
        """Everything that does not hold right now; *state* if it was just taken."""
        quiescent = milestone == QUIESCENT
        questions = self._at_rest if quiescent else self._midway
        if not questions.asked:
            return []
        if not (self._by_row or quiescent):
            return self._glance(questions.asked, milestone)
        if self._read is not None and self._sees_nothing_wrong(questions.asked):
            return []
        state = self.take_state() if state is None else state
        self.state = as_number(state)
        if AT_REST + state in self._sound or questions.kind + state in self._sound:
            return []
        self.judged_by_row |= self._by_row
        x = self._view(state)
        if quiescent and len(self.reached) < len(SOMETIMES):
            self.reached |= {
                name for name, reach in SOMETIMES.items() if name not in self.reached and reach(x)
            }
        held = self._held()
        unsure = {
            reads: each
            for reads, each in self._keys(questions, held).items()
            if each not in self._sound
        }
        rows = self._rows(x, questions.kind) if self._by_row and ROWS in unsure else None
        found = [
            violation
            for invariant in questions.of(unsure)
            if invariant.law or invariant.by or x.asks_of(invariant.sees)
            for violation in self._judge(invariant, x, milestone)
        ]
        broken = {INVARIANTS[violation.invariant].reads for violation in found}
        self._sound.update(each for reads, each in unsure.items() if reads not in broken)
        questions.note(held, broken)
        if rows is not None:
            self._remember(rows, x.touched(broken_rows(found)), quiescent)
        if not found:
            self._sound.add(questions.kind + state)
        return found

    def _glance(self, asked: Iterable[Invariant], milestone: str) -> list[Violation]:
        """What the answers are right now, whatever they were before."""
        x = self.kernel.extents()
        return [v for each in asked for v in self._judge_anew(each, x, milestone)]

    def _sees_nothing_wrong(self, asked: Iterable[Invariant]) -> bool:
        """Whether all of *asked* ask walkers, and no row is wrong for these to see."""
        x = self.kernel.extents()
        return all(each.wrong_to_see and not each.wrong_to_see(x).any() for each in asked)

    def _held(self) -> dict[str, bytes]:
        """A digest of each part and of each fact."""
        for name, (part, fact) in FACTS.items():
            if part not in self._parts:
                continue
            if name not in self._facts or self._facts[name][0] != self._parts[part]:
                self._facts[name] = self._parts[part], digest(fact(self.kernel))
        return self._parts | {name: fact for name, (_, fact) in self._facts.items()}

    def _keys(self, questions: Questions, held: dict[str, bytes]) -> dict[frozenset[str], bytes]:
        """For each set of parts that some invariant reads, what they hold, as a key; without
        those that hold what they held when they were last found sound."""
        return {
            reads: prefix + digest(self._kinds + b"".join([held[name] for name in names]))
            for reads, (prefix, names) in questions.changed(held)
        }

    def _rows(self, x: Extents, kind: bytes) -> Keys:
        """Keys of rows and clusters. Who sees no more than what was judged is not asked,
        and no walker where there is nothing that it must not see."""
        keys = keys_of(x)
        hidden = must_not_see(x)
        unsure = np.array([kind + row not in self._sound for row in keys.rows])
        x.rows_are_known = not unsure.any()
        if (unsure & hidden).any():
            x.asks = Sees.ROW
            return keys
        unsure_clusters = [kind + cluster not in self._sound for cluster in keys.clusters]
        of_sections = (keys.rows_of(unsure_clusters) & hidden).any()
        x.asks = Sees.SECTION if of_sections else who_may_see(x, hidden)
        return keys

    def _remember(self, keys: Keys, broken: ExtentMask, quiescent: bool) -> None:
        """All rows but those that are *broken* are sound; at rest more was asked."""
        sound = keys.without(broken)
        self._sound.update(MIDWAY + key for key in sound)
        if quiescent:
            self._sound.update(AT_REST + key for key in sound)

    def compare(self, before: Kernel, refusal: KernelRefusal | None) -> list[Violation]:
        """What does not hold from before the operation to after it."""
        return [
            violation
            for invariant, across in self._across
            if (pfns := tuple(across(before, refusal, self.kernel)))
            for violation in self._attribute(invariant, pfns, self.kernel.extents(), QUIESCENT)
        ]

    def _judge(self, invariant: Invariant, x: Extents, milestone: str) -> list[Violation]:
        if invariant.by is None or not self._by_row:
            return self._judge_anew(invariant, x, milestone)
        by = invariant.by(x)
        if by is None:
            return []
        name, rows = invariant.name.encode(), zip(keys_of(x).rows, by.tolist(), strict=True)
        keys = [b"%b %d " % (name, number) + row for row, number in rows]
        if self._sound.issuperset(keys):
            return []
        found = self._judge_anew(invariant, x, milestone)
        broken = x.touched(pfns for violation in found for pfns in violation.pfns)
        self._sound.update(compress(keys, (~broken).tolist()))
        return found

    def _judge_anew(self, invariant: Invariant, x: Extents, milestone: str) -> list[Violation]:
        if invariant.wrong_to_see is not None and not invariant.wrong_to_see(x).any():
            return []
        if invariant.always is not None:
            rows = invariant.always(x)
            return self._attribute_rows(invariant, rows, x, milestone) if rows.any() else []
        if invariant.law is not None:
            pfns = tuple(invariant.law(x))
            if not pfns:
                return []
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
            if entry.law in invariant.of_ledger and entry.pfns in pfns
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
        """What tells the state right now from any other of this rules and geometry, in as much
        as it is asked about."""
        parts = parts_of(self.kernel, self._read)
        self._parts = {name: digest(part) for name, part in parts.items()}
        return digest(self._kinds + b"".join(self._parts.values()))

    def now(self) -> int:
        """The state right now, without a look at it."""
        return as_number(self.take_state())

    def _view(self, state: bytes) -> Extents:
        """The view of *state*; the last milestone of an operation is often its end. In what
        is not asked about it may differ."""
        if self._read is not None or self._seen is None or self._seen[0] != state:
            self._seen = (state, self.kernel.extents())
        return self._seen[1]


def broken_rows(found: Iterable[Violation]) -> list[PfnRange]:
    """Where invariants of rows are broken."""
    return [p for each in found if INVARIANTS[each.invariant].reads == ROWS for p in each.pfns]


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
