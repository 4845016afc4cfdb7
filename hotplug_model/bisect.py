"""Which change makes a trace fail: halving the history that the model knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from hotplug_model.changes import (
    CHANGES,
    RELEASES,
    Change,
    KernelVariant,
    change_called,
    release_called,
)
from hotplug_model.errors import UserError
from hotplug_model.invariants import INVARIANTS
from hotplug_model.registry import unknown
from hotplug_model.trace import Trace, replay

MAINLINE = "mainline"


class Verdict(Enum):
    """What a kernel makes of a trace."""

    GOOD = "good"
    """It breaks nothing of what it says."""
    BAD = "bad"
    """The trace breaks what it says, at its last event and not before."""
    OTHER = "other"
    """It breaks but a part of that, or at another event: no answer to this question."""


def history() -> list[Change]:
    """Every commit of the model, oldest first; those of one release in a fixed order."""
    commits = tuple(change for change in CHANGES if change.commit)
    return list(reversed(KernelVariant(changes=commits).undone))


def position(name: str) -> int:
    """How many commits of :func:`history` a kernel has: a release, or as of a commit."""
    commits = history()
    if name == MAINLINE:
        return len(commits)
    if (release := release_called(name)) in RELEASES:
        return sum(c.since is not None and c.since <= RELEASES[release] for c in commits)
    called = change_called(name)
    for index, commit in enumerate(commits):
        if commit.name == called:
            return index + 1
    known = [MAINLINE, *RELEASES, *(commit.name for commit in commits)]
    raise UserError(unknown("release or commit", name, known))


@dataclass(slots=True)
class Bisection:
    """Replays one trace on kernels of the history, each at most once."""

    trace: Trace
    replayed: dict[int, Verdict] = field(default_factory=dict)
    """Number of commits -> what that kernel makes of the trace."""

    def verdict(self, nr_commits: int) -> Verdict:
        """What the kernel with the first *nr_commits* of the history makes of the trace."""
        if nr_commits not in self.replayed:
            self.replayed[nr_commits] = judge(self.on(nr_commits))
        return self.replayed[nr_commits]

    def on(self, nr_commits: int) -> Trace:
        """The trace on that kernel; what never shipped stays applied. What would hide all else is
        undone only if the trace does so."""
        named = self.trace.changes
        lacking = [c.name for c in history()[nr_commits:] if not c.hides or c.name in named]
        applied = [c.name for c in self.trace.variant().changes if not c.commit]
        return replace(self.trace, release=None, changes=(*lacking, *applied))


def judge(trace: Trace) -> Verdict:
    """What its kernel makes of *trace*, under the violation that the trace names.

    Nothing else is asked: older kernels have other bugs.
    """
    last, found = replay(trace, invariants=[INVARIANTS[name] for name in trace.violates])
    if last is None:
        return Verdict.GOOD
    return Verdict.BAD if trace.says(last, found) else Verdict.OTHER


@dataclass(frozen=True, slots=True)
class Culprit:
    """The one commit between a kernel that holds and its neighbour that does not."""

    commit: Change
    fixes: bool
    """Whether the kernel with it holds; else the one without."""


def bisect(
    bisection: Bisection,
    good: str,
    bad: str,
    on_replay: Callable[[int, Verdict], None] = lambda nr_commits, verdict: None,
) -> Culprit:
    """The commit between *good* and *bad* that makes the trace hold or fail.

    Either may be the older one. :class:`UserError` if good is not good, if bad is not
    bad, or if kernels that break otherwise stand between them.
    """
    if not bisection.trace.violates:
        raise UserError("the trace breaks nothing: there is nothing to bisect")
    low, high = position(good), position(bad)
    asked: set[int] = set()
    refuse_equal(good, bad, low, high)
    for name, at, wanted in ((good, low, Verdict.GOOD), (bad, high, Verdict.BAD)):
        on_replay(at, bisection.verdict(at))
        refuse_other(name, bisection.verdict(at), wanted)
    while (middle := between(low, high, asked)) is not None:
        asked.add(middle)
        verdict = bisection.verdict(middle)
        on_replay(middle, verdict)
        if verdict is Verdict.GOOD:
            low = middle
        elif verdict is Verdict.BAD:
            high = middle
    first, last = sorted((low, high))
    suspects = history()[first:last]
    if len(suspects) > 1:
        names = ", ".join(commit.name for commit in suspects)
        raise UserError(
            f"the order does not separate good from bad: it is one of {names}, but the kernels "
            "between them break a part of it, or earlier"
        )
    return Culprit(suspects[0], fixes=low > high)


def between(low: int, high: int, asked: set[int]) -> int | None:
    """The kernel next to the middle that was not *asked* yet; None if there is none."""
    first, last = sorted((low, high))
    unasked = [n for n in range(first + 1, last) if n not in asked]
    return min(unasked, key=lambda n: (abs(2 * n - first - last), n), default=None)


def refuse_equal(good: str, bad: str, low: int, high: int) -> None:
    """Two names of one kernel cannot differ."""
    if low == high:
        raise UserError(f"no change of the model lies between {good} and {bad}")


def refuse_other(name: str, found: Verdict, wanted: Verdict) -> None:
    """The two ends must be what the user says."""
    if found is not wanted:
        what = {
            Verdict.GOOD: "the trace breaks nothing of that there",
            Verdict.BAD: "the trace breaks there what it says",
            Verdict.OTHER: "the trace breaks a part of that there, or earlier",
        }[found]
        raise UserError(f"{name} is not {wanted.value}: {what}")
