"""``hotplug-model race``: which operations are safe to run at once."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hotplug_model.cli import complain
from hotplug_model.commands.arguments import named_walkers, settle
from hotplug_model.commands.fresh import disagreement
from hotplug_model.commands.search import layouts
from hotplug_model.contenders import REQUESTS, REQUESTS_IN_A_MATRIX, Kinds, every_pair
from hotplug_model.defects import DEFECTS
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.race import Pair, RaceRequest, race_all
from hotplug_model.report.lines import line, show
from hotplug_model.report.race_matrix import matrix, told
from hotplug_model.trace_file import TraceFile
from hotplug_model.words import counted


def run(args: argparse.Namespace) -> int:
    """Race, write a trace for each unsafe pair, draw; 1 if there is one, 3 if one is flaky."""
    own = named_walkers(name for name in args.ops if ":" in name)
    pairs = every_pair(args.ops)
    request = replace(request_of(args), walkers=own)
    # Always the same one first: whose turn is first is part of the search.
    racing = race_all(request, pairs, args.workers or os.cpu_count() or 1)
    done = list(racing if args.json else watched(racing, len(pairs)))
    paths = {pair.kinds: keep(args, pair) for pair in done if pair.trace is not None}
    for pair in done:
        confirm(pair, own)
    if args.json:
        print(json.dumps(to_json(args, request, done, paths), indent=2))
    else:
        draw(args, request, done, paths)
    if any(pair.flaky for pair in done):
        return 3
    return 1 if paths else 0


def request_of(args: argparse.Namespace) -> RaceRequest:
    """What the arguments ask for; :class:`UserError` if that cannot be."""
    # An allocation that fails is for the other searches.
    args.faults = False
    variant = settle(args)
    chosen = layouts(args.boot, GEOMETRIES[args.geometry])
    return RaceRequest(
        variant=variant, geometry=args.geometry, layouts=chosen, switches=args.switches,
        most=REQUESTS if args.ops else REQUESTS_IN_A_MATRIX,
    )  # fmt: skip


def watched(racing: Iterator[Pair], of: int) -> Iterator[Pair]:
    """Say on a terminal how far it has come."""
    for nr, pair in enumerate(racing, 1):
        if sys.stderr.isatty():
            print(f"\r{nr} of {of} pairs", end="" if nr < of else "\r\033[K", file=sys.stderr)
        yield pair


def keep(args: argparse.Namespace, pair: Pair) -> str:
    """Write the schedule of an unsafe pair; where to."""
    kept = TraceFile(Path(args.traces))
    assert pair.trace is not None
    kept.write(pair.trace)
    if kept.problem:
        complain(kept.problem)
    return str(kept.path or "-")


def confirm(pair: Pair, own: Sequence[str]) -> None:
    """A pair is unsafe if fresh processes say so; else the verdict is flaky."""
    if pair.trace is not None and (reason := disagreement(pair.trace, own)):
        pair.flaky, pair.trace = reason, None


def draw(
    args: argparse.Namespace, request: RaceRequest, done: Sequence[Pair], paths: dict[Kinds, str]
) -> None:
    """For people: the matrix if there is more than one pair, then what is not safe."""
    tried = sum(pair.nr_schedules for pair in done)
    most = f"{request.switches} switch{'es' if request.switches > 1 else ''}"
    lines = [
        line(
            f"{request.variant} at {request.geometry}: up to {most}, "
            f"{counted(len(request.layouts), 'boot layout')}, {counted(tried, 'schedule')}",
            "bold",
        )
    ]
    lines += matrix(done) if len(done) > 1 else []
    own = [f"--walker {name}" for name in args.ops if ":" in name]
    own += [f"--change {name}" for name in args.change if ":" in name]
    for pair in done:
        if len(done) == 1 or pair.verdict not in ("safe", "never"):
            lines += told(pair, paths.get(pair.kinds, ""), own)
    show(lines)


def to_json(
    args: argparse.Namespace, request: RaceRequest, done: Sequence[Pair], paths: dict[Kinds, str]
) -> dict[str, Any]:
    """The same for programs."""
    return {
        "variant": str(request.variant),
        "geometry": request.geometry,
        "boot": list(request.layouts),
        "switches": request.switches,
        "pairs": [
            {
                "operations": list(pair.kinds),
                "verdict": pair.verdict,
                "requests": pair.nr_requests,
                "schedules": pair.nr_schedules,
                "defects": sorted(n for n in pair.defects if not DEFECTS[n].accepted),
                "accepted": sorted(n for n in pair.defects if DEFECTS[n].accepted),
                "violates": list(pair.trace.violates) if pair.trace else [],
                "trace": paths.get(pair.kinds) if pair.trace else None,
                "flaky": pair.flaky,
            }
            for pair in done
        ],
    }
