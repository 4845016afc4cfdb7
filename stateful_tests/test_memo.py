"""What the checker remembers never changes what it reports; a fingerprint is the state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import QUIESCENT, Checker, Violation
from hotplug_model.flags import ZoneType
from hotplug_model.invariants import INVARIANTS
from hotplug_model.kernel import Kernel
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.pfn import PfnRange, merge_ranges
from hotplug_model.rules import KernelRules
from stateful_tests.kernels import boot, walk

RULES: dict[str, KernelRules] = {
    "mainline": MAINLINE,
    "no taint": KernelVariant.named(None, ("1f90a3477df3",)).rules(),
    "no subsection": KernelVariant.named(None, ("9f9b02e5b346",)).rules(),
    "v5.4": KernelVariant.named("5.4", ()).rules(),
    "pfn_valid": replace(MAINLINE, walkers_check_online=False, shrink_asks_online=False),
    "holes go offline": replace(
        MAINLINE,
        offline_rejects_holes=False,
        early_memmap_kept=False,
        block_zone=lambda kernel, block_id: ZoneType.ZONE_NORMAL,
    ),
}
GEOMETRIES = ("tiny", "small", "x86_64", "s390", "arm64_64k")


def by_invariant(violations: list[Violation]) -> dict[str, set[PfnRange]]:
    """Where each invariant is broken, whatever known defect it is put down to."""
    found: dict[str, set[PfnRange]] = {}
    for violation in violations:
        found.setdefault(violation.invariant, set()).update(violation.pfns)
    return {name: joined(name, pfns) for name, pfns in found.items()}


def joined(name: str, pfns: set[PfnRange]) -> set[PfnRange]:
    """Rows are put down to defects one by one, so that neighbours may be apart."""
    return set(merge_ranges(sorted(pfns))) if INVARIANTS[name].always else pfns


def judged_afresh(kernel: Kernel, milestone: str) -> dict[str, set[PfnRange]]:
    """Every invariant, every walker, every row: no memory."""
    x = kernel.extents()
    found: dict[str, set[PfnRange]] = {}
    for invariant in INVARIANTS:
        if invariant.quiescent and milestone != QUIESCENT:
            continue
        if invariant.always is not None:
            found[invariant.name] = set(x.where(invariant.always(x)))
        elif invariant.law is not None:
            found[invariant.name] = set(invariant.law(x))
    return {name: pfns for name, pfns in found.items() if pfns}


class Distrusted(Checker):
    """Compares each of its looks with those of two that remember nothing."""

    looks = 0
    skipped = 0

    def look(self, milestone: str) -> list[Violation]:
        found = super().look(milestone)
        assert by_invariant(found) == judged_afresh(self.kernel, milestone)
        assert found == Checker(self.kernel, self.strict).look(milestone)
        self.looks += 1
        self.skipped += self._view(self._state()).wide_only
        return found


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("rules", RULES)
def test_a_checker_that_remembers_sees_what_one_that_forgets_sees(
    rules: str, geometry: str
) -> None:
    sound: set[bytes] = set()
    skipped = violated = 0
    for seed, name in enumerate(LAYOUTS.names() * 2):
        kernel = boot(name, geometry, RULES[rules])
        checker = Distrusted(kernel, sound=sound)
        checker.boot()
        for _, outcome in walk(checker, seed, 5):
            violated += bool(outcome.violations)
        skipped += checker.skipped
    assert skipped
    assert bool(violated) == (rules != "mainline")
