"""``hotplug-model bisect``: which change makes a trace fail."""

from __future__ import annotations

import argparse
import json
from typing import Any

from hotplug_model.bisect import Bisection, Culprit, Verdict, bisect, history
from hotplug_model.changes import Change
from hotplug_model.commands.arguments import load_trace, named_variant
from hotplug_model.errors import UserError
from hotplug_model.report.lines import line, show


def run(args: argparse.Namespace) -> int:
    """A line a replay, ``other`` where it cannot tell; then the change; 0 if it was found."""
    named_variant(args)
    trace = load_trace(args.file, args.change)

    def told(nr_commits: int, verdict: Verdict) -> None:
        if not args.json:
            show([line(f"  {verdict.value:<5} {as_of(nr_commits)}")])

    bisection = Bisection(trace)
    try:
        culprit = bisect(bisection, args.good, args.bad, told)
    except UserError as error:
        raise UserError(f"{args.file}: {error}") from None
    if args.json:
        print(json.dumps(to_json(culprit, bisection), indent=2))
        return 0
    commit, broken = culprit.commit, ", ".join(trace.violates)
    without, with_it = ("fails", "holds") if culprit.fixes else ("holds", "fails")
    show(
        [
            line(f"{commit.name} {shipped(commit)} {commit.subject}", "bold"),
            line(f"  without it the trace {without}, with it the trace {with_it}: {broken}"),
            line(f"  {len(bisection.replayed)} kernels replayed"),
        ]
    )
    return 0


def as_of(nr_commits: int) -> str:
    """The kernel with so many commits of the history, in words."""
    if nr_commits == 0:
        return "before the first change of the model"
    last = history()[nr_commits - 1]
    return f"as of {last.name} {shipped(last)} {last.subject}"


def shipped(commit: Change) -> str:
    """The first release with *commit*."""
    return "({}.{})".format(*commit.since) if commit.since else ""


def to_json(culprit: Culprit, bisection: Bisection) -> dict[str, Any]:
    """The result as plain JSON."""
    commit = culprit.commit
    commits = history()
    return {
        "change": commit.name,
        "subject": commit.subject,
        "since": ".".join(map(str, commit.since or ())),
        "fixes": culprit.fixes,
        "violates": list(bisection.trace.violates),
        "replays": [
            {"as_of": commits[nr - 1].name if nr else None, "verdict": verdict.value}
            for nr, verdict in bisection.replayed.items()
        ],
    }
