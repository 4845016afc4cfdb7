"""The audit: what every user of PageReserved() decides about every state of a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any

import numpy as np

from hotplug_model.changes import KernelVariant
from hotplug_model.changes.proposal_seed_000 import CALLBACKS, PATCHES
from hotplug_model.extents import Extents
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.page_state import PageState, page_states
from hotplug_model.rules import KernelRules
from hotplug_model.scenes import SCENES, Scene
from hotplug_model.users import USERS, User
from hotplug_model.users.user import asked, blind, mistaken

SERIES = "seed000"
BEFORE = "seed000-before"


class Verdict(Enum):
    """What a decision is worth, the worst last."""

    RIGHT = "right"
    BLIND = "blind"
    """It may be right by luck: it reads a struct page that does not say what the page is."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision about one state, and where it was seen first."""

    says: bool
    verdict: Verdict
    scene: Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """All that a user decides about pages in one state."""

    user: User
    state: PageState
    decided: tuple[Decided, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of it."""
        return max((each.verdict for each in self.decided), key=list(Verdict).index)

    @property
    def scene(self) -> Scene:
        """Where the worst of it was seen."""
        return next(each.scene for each in self.decided if each.verdict == self.verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The matrix of one kernel."""

    variant: KernelVariant
    reached: frozenset[PageState]
    cells: dict[tuple[str, PageState], Cell]
    """By key of the user and state. None of a user that the kernel lacks."""

    def bad(self) -> set[tuple[str, PageState]]:
        """Cells with a decision that is wrong, or right by luck."""
        return {key for key, cell in self.cells.items() if cell.verdict != Verdict.RIGHT}

    def new(self, base: Audit) -> list[Cell]:
        """What is wrong here and was not in *base*."""
        added = self.bad() - base.bad()
        return [cell for key, cell in self.cells.items() if key in added]


def audit(variant: KernelVariant) -> Audit:
    """Look at every scene on one kernel."""
    rules = variant.rules()
    machine = without_users(rules)
    seen = (np.unique(page_states(x)).tolist() for _, x in looks(machine))
    cells = {
        (of.key, state): Cell(user=of, state=state, decided=decided)
        for of in USERS
        if of.form(rules) is not None
        for state, decided in decisions(machine, of.key, of.selected(rules)).items()
    }
    reached = frozenset(PageState(state) for states in seen for state in states)
    return Audit(variant=variant, reached=reached, cells=cells)


def without_users(rules: KernelRules) -> KernelRules:
    """*rules* as far as operations go by them: users only look."""
    names = {of.rule for of in USERS if of.rule}
    mainline: dict[str, Any] = {name: getattr(MAINLINE, name) for name in names}
    return replace(rules, **mainline)


@lru_cache(maxsize=16)
def looks(rules: KernelRules) -> tuple[tuple[Scene, Extents], ...]:
    """Every moment of every scene, which kernels that differ in their users share."""
    return tuple((scene, x) for scene in SCENES for x in scene.looks(rules))


@lru_cache(maxsize=4096)
def decisions(
    machine: KernelRules, key: str, form_name: str
) -> dict[PageState, tuple[Decided, ...]]:
    """What a user in one of its forms decides about pages in each state."""
    of = USERS[key]
    form = of.forms[form_name]
    found: dict[PageState, tuple[Decided, ...]] = {}
    for scene, x in looks(machine):
        rows = asked(x, of)
        columns = (page_states(x), form.says(x), blind(x, of, form), mistaken(x, of, form))
        kinds = set(zip(*(column[rows].tolist() for column in columns), strict=True))
        for state, says, unread, wrong in sorted(kinds):
            verdict = Verdict.WRONG if wrong else Verdict.BLIND if unread else Verdict.RIGHT
            known = found.setdefault(PageState(state), ())
            if all((old.says, old.verdict) != (says, verdict) for old in known):
                new = Decided(says=says, verdict=verdict, scene=scene)
                found[PageState(state)] = (*known, new)
    return found


# The series


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A way to apply the series, and what it decides wrongly that was right before."""

    change: str
    subject: str
    audit: Audit
    new: list[Cell]
    fixed: int
    """Cells that were wrong, or right by luck, and are right now."""


def applied() -> Iterator[tuple[str, str]]:
    """The ways to apply the series: each a change, and what it is."""
    yield SERIES, "the series, whole"
    yield f"{SERIES}-corrected", "the series, 3 and 12 mended"
    for name, patch in PATCHES.items():
        yield f"{SERIES}-without-{name}", f"without patch {patch.number}, {name}"
    for driver in CALLBACKS:
        yield f"{SERIES}-without-{driver}", f"mended, but 12 lacks {driver}"
    yield f"{SERIES}-zone-device", "patch 12 for ZONE_DEVICE only"
    yield f"{SERIES}-system-ram", "patch 12 for System RAM only"
    yield f"{SERIES}-flag", "patch 12 alone"


def compare(release: str | None) -> tuple[Audit, list[Comparison]]:
    """The kernel before the series, and what each way to apply it makes of it."""
    base = audit(KernelVariant.named(release, (BEFORE,)))
    found = []
    for change, subject in applied():
        now = audit(KernelVariant.named(release, (change,)))
        fixed = len((base.bad() - now.bad()) & now.cells.keys())
        found.append(
            Comparison(change=change, subject=subject, audit=now, new=now.new(base), fixed=fixed)
        )
    return base, found
