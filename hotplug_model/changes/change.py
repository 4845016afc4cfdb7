"""The unit of variation is the commit: a variant is mainline with some undone."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Set
from dataclasses import Field, dataclass, field, fields
from functools import cache
from inspect import cleandoc
from typing import Any, Self, TypeAlias

from hotplug_model.errors import UserError
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.registry import Registry, unknown
from hotplug_model.rules import KernelRules

Release: TypeAlias = tuple[int, int]
Rewrite: TypeAlias = Callable[[KernelRules], KernelRules]

RELEASES: dict[str, Release] = {
    f"{major}.{minor}": (major, minor)
    for major, minors in ((4, range(9, 21)), (5, range(20)), (6, range(15)))
    for minor in minors
}
"""Releases that can be named. Those before 5.4 differ in more than is modelled; where that
matters to a bug, ``affected`` says so."""


class VariantConflict(UserError):
    """A commit cannot be undone because a newer one builds on the same rule."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """A commit, as the way to undo it; or a proposal or injected bug, to apply."""

    name: str
    """Abbreviated commit id; a slug where there is none that could be confirmed."""
    subject: str
    since: Release | None
    """First release with the commit, or without what :attr:`hides`; None if there is none."""
    rewrite: Rewrite
    breaks: tuple[str, ...] = ()
    """Invariants that the change violates, exactly. Empty if it is not a fix."""
    commit: bool = False
    """Whether applying it to the model means undoing an upstream commit."""
    geometry: str = "tiny"
    """On which geometry it shows what it breaks."""
    boots: tuple[str, ...] = ()
    """The boot layouts on which nothing else is wrong with it; none: all of them."""
    faults: bool = False
    """Whether it takes a failing allocation to show."""
    needs: tuple[str, ...] = ()
    """Newer commits on the same rule, which must be undone with it."""
    races: tuple[str, ...] = ()
    """The two operations that must be in flight at once to show it, if it takes two."""
    hides: bool = False
    """Whether kernels do so, but are modelled without it: it shows so soon that it would hide
    all else."""

    @property
    def shipped(self) -> bool:
        """Whether there are releases that do so."""
        return self.commit or self.hides

    @property
    def rules(self) -> frozenset[str]:
        """Names of the rules it touches; functions that ask pfn_valid() each stand alone."""
        return rules_touched(self.rewrite)

    @property
    def doc(self) -> str:
        """What is different with it, one line."""
        return cleandoc(self.rewrite.__doc__ or "").partition("\n")[0]


@cache
def rules_touched(rewrite: Rewrite) -> frozenset[str]:
    """See :attr:`Change.rules`: every boot asks each change for them."""
    changed = rewrite(MAINLINE)
    names = {rule.name for rule in fields(KernelRules)} - {"asks_pfn_valid"}
    touched = {n for n in names if getattr(changed, n) != getattr(MAINLINE, n)}
    return frozenset(touched) | {f"{each}()" for each in changed.asks_pfn_valid}


CHANGES: Registry[Change] = Registry("change")


def registering(**said: Any) -> Callable[[Rewrite], Rewrite]:
    """Register the decorated function as the rewrite of a change, of which all else is *said*."""

    def register(rewrite: Rewrite) -> Rewrite:
        change = Change(rewrite=rewrite, **said)
        CHANGES.add(change.name, change)
        return rewrite

    return register


def undoing(
    name: str,
    subject: str,
    *,
    since: Release,
    breaks: tuple[str, ...] = (),
    geometry: str = "tiny",
    boots: tuple[str, ...] = (),
    faults: bool = False,
    needs: tuple[str, ...] = (),
    races: tuple[str, ...] = (),
    hides: bool = False,
) -> Callable[[Rewrite], Rewrite]:
    """Register the decorated function as the way to undo commit *name*."""
    return registering(
        name=name, subject=subject, since=since, breaks=breaks, commit=True, geometry=geometry,
        boots=boots, faults=faults, needs=needs, races=races, hides=hides,
    )  # fmt: skip


def proposing(
    name: str,
    subject: str,
    *,
    breaks: tuple[str, ...] = (),
    geometry: str = "tiny",
    boots: tuple[str, ...] = (),
    faults: bool = False,
) -> Callable[[Rewrite], Rewrite]:
    """Register the decorated function as a proposal or bug that never shipped."""
    return registering(
        name=name, subject=subject, since=None, breaks=breaks,
        geometry=geometry, boots=boots, faults=faults,
    )  # fmt: skip


def hiding(
    name: str,
    subject: str,
    *,
    until: Release | None = None,
    breaks: tuple[str, ...],
    geometry: str = "tiny",
    boots: tuple[str, ...] = (),
) -> Callable[[Rewrite], Rewrite]:
    """Register the decorated function as what kernels do, *until* a release or to this day,
    and no kernel of the model does unasked."""
    return registering(
        name=name, subject=subject, since=until, breaks=breaks,
        geometry=geometry, boots=boots, hides=True,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelVariant:
    """Mainline, or a release, with *changes*: commits undone and proposals applied."""

    release: str | None = None
    changes: tuple[Change, ...] = ()
    backports: frozenset[str] = field(default=frozenset())
    """Names of newer commits that the release has all the same."""

    @classmethod
    def named(
        cls, release: str | None, changes: tuple[str, ...], backports: tuple[str, ...] = ()
    ) -> Self:
        """The variant that the command line or a trace describes."""
        if release is not None and release not in RELEASES:
            raise UserError(unknown("release", release, RELEASES))
        found = tuple(find_change(name) for name in changes)
        return cls(release=release, changes=found, backports=frozenset(backports))

    @property
    def undone(self) -> tuple[Change, ...]:
        """Every commit that this kernel lacks, newest first; what would hide all else if that
        was named."""
        at = RELEASES[self.release] if self.release else (999, 0)
        newer = [
            c
            for c in CHANGES
            if c.commit and c.since and c.since > at and c.name not in self.backports
            if not c.hides
        ]
        named = [c for c in self.changes if c.commit and c not in newer]
        return tuple(sorted([*newer, *named], key=lambda c: c.since or at, reverse=True))

    def rules(self) -> KernelRules:
        """Undo newest first, as ``git revert`` would, then apply what never shipped."""
        rules, undone = MAINLINE, self.undone
        gone = set(undone)
        kept = [each for each in CHANGES if each.commit and each.since and each not in gone]
        for change in undone:
            refuse_conflict(change, kept)
            rules = change.rewrite(rules)
        for change in self.changes:
            if not change.commit:
                rules = change.rewrite(rules)
        return rules

    def __str__(self) -> str:
        parts = [f"v{self.release}" if self.release else "mainline"]
        without = [c.name for c in self.changes if c.commit]
        applied = [c.name for c in self.changes if not c.commit]
        if self.backports:
            parts.append("with " + ", ".join(sorted(self.backports)))
        if without:
            parts.append("without " + ", ".join(without))
        if applied:
            parts.append("plus " + ", ".join(applied))
        return " ".join(parts)


def refuse_conflict(change: Change, kept: list[Change]) -> None:
    """Raise :class:`VariantConflict` if a newer commit that is *kept* builds on *change*."""
    for newer in kept:
        builds_on = newer.since and change.since and newer.since > change.since
        if builds_on and newer.rules & change.rules:
            rule = min(newer.rules & change.rules)
            raise VariantConflict(
                f"cannot undo {change.name} alone: {newer.name} ({newer.subject!r}) "
                f"builds on its rule {rule!r}; undo both"
            )


def find_change(name: str) -> Change:
    """The registered change called *name*, or the user's own, ``module:function``."""
    if ":" not in name:
        return CHANGES[name]
    module_name, _, function_name = name.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(f"change {name!r}: {error}") from None
    subject = cleandoc(getattr(function, "__doc__", None) or function_name).partition("\n")[0]
    rewrite: Rewrite = function
    rules = _try_rewrite(name, rewrite)
    if not isinstance(rules, KernelRules):
        raise UserError(f"change {name!r} must take KernelRules and return KernelRules")
    for rule in fields(KernelRules):
        refuse_nonsense(name, rule, getattr(rules, rule.name))
    return Change(name=name, subject=subject, since=None, rewrite=rewrite)


def refuse_nonsense(name: str, rule: Field[Any], value: object) -> None:
    """Raise :class:`UserError` if change *name* gives *rule* what no kernel can make sense of."""
    what, usual = f"change {name!r}: rule {rule.name!r}", getattr(MAINLINE, rule.name)
    words = words_of(rule)
    if words and value not in words:
        raise UserError(f"{what}: {unknown('value', str(value), words)}")
    if callable(usual) and not callable(value):
        raise UserError(f"{what} must be a function")
    kind = Set if isinstance(usual, Set) else type(usual)
    if usual is not None and not callable(usual) and not isinstance(value, kind):
        raise UserError(f"{what} must be of type {kind.__name__}")


def words_of(rule: Field[Any]) -> tuple[str, ...]:
    """What a rule may be that is one of several words, told from its declaration."""
    of, _, words = str(rule.type).partition("Literal[")
    return () if of else ast.literal_eval(f"({words.removesuffix(']')},)")


def _try_rewrite(name: str, rewrite: Rewrite) -> object:
    try:
        return rewrite(MAINLINE)
    except Exception as error:
        raise UserError(f"change {name!r} failed on mainline: {error}") from None
