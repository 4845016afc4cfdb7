"""``hotplug-model explore``: try everything, to a depth; the shortest counterexample."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO

from hotplug_model.certify import MINIMAL
from hotplug_model.cli import complain
from hotplug_model.commands.arguments import settle
from hotplug_model.commands.interrupt import PatientInterrupt
from hotplug_model.commands.search import (
    STDOUT,
    command_of,
    confirm,
    draw_page,
    draw_unconfirmed,
    exit_code,
    layouts,
    refuse_unwritable,
    write_json,
)
from hotplug_model.errors import UserError
from hotplug_model.explore import FULL, Exploration, Space
from hotplug_model.explore.explored import Explored, explore, minimal_of
from hotplug_model.explore.way_back import WaysBack, look_for_ways_back
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.ops.every import kinds_named
from hotplug_model.report import exploration as report
from hotplug_model.report.lines import Line, line, show
from hotplug_model.report.progress import ExploreProgress
from hotplug_model.report.summary import MAX_DEFECTS, known_defects
from hotplug_model.report.ways_back import ways_back
from hotplug_model.trace import Trace
from hotplug_model.trace_file import TraceFile


def run(args: argparse.Namespace) -> int:
    """Search, write the counterexample, then draw the report."""
    if args.checkpoint == "":
        raise UserError("--checkpoint: the name of a file is empty")
    space = space_of(args)
    refuse_unwritable(args.json)
    kept = TraceFile(Path(args.traces))
    command = command_of(args, "unusual") + options_of(args)
    progress = ExploreProgress()

    def step(exploration: Exploration) -> None:
        progress.step(exploration)
        interrupt.poll()

    def back(ways: WaysBack) -> None:
        progress.back(ways, len(explored.exploration.visited))
        interrupt.poll()

    def keep(trace: Trace) -> None:
        known = minimal_of(trace, space)
        kept.write(replace(trace, found={"command": command, MINIMAL: known}))

    with PatientInterrupt() as interrupt, progress:
        explored = explore(
            space,
            FULL if args.depth is None else args.depth,
            workers=args.workers,
            checkpoint=Path(args.checkpoint) if args.checkpoint is not None else None,
            on_step=step,
            on_found=keep,
        )
        confirm(explored)
        if args.back is not None and explored.verdict == "held" and not explored.interrupted:
            explored.ways = WaysBack(limit=args.back)
            try:
                look_for_ways_back(explored.exploration, explored.ways, back)
            except KeyboardInterrupt:
                explored.interrupted = True
    explored.interrupted |= interrupt.asked
    return conclude(args, explored, kept)


def space_of(args: argparse.Namespace) -> Space:
    """What the arguments ask for; :class:`UserError` if that cannot be."""
    settle(args)
    machines = tuple(
        Trace(
            geometry=args.geometry, boot=layout, release=args.release,
            changes=tuple(args.change), strict=args.strict,
        )
        for layout in layouts(args.boot, GEOMETRIES[args.geometry]).values()
    )  # fmt: skip
    kinds = kinds_named(args.ops) if args.ops else ()
    return Space(
        machines=machines,
        ops=tuple(kind.op_name() for kind in kinds),
        unusual=args.unusual,
        faults=args.faults,
        symmetry=not args.no_symmetry,
    )


def options_of(args: argparse.Namespace) -> str:
    """The rest of the command line that repeats the search."""
    depth = "full" if args.depth is None else args.depth
    ops = f" --ops {','.join(args.ops)}" if args.ops else ""
    back = "" if args.back is None else f" --back {args.back}"
    return f" --depth {depth}{ops}{' --no-symmetry' if args.no_symmetry else ''}{back}"


def conclude(args: argparse.Namespace, explored: Explored, kept: TraceFile) -> int:
    """Say what came of it, in words and in a code."""
    if kept.problem:
        complain(kept.problem)
    path = str(kept.path) if explored.trace is not None and kept.path else None
    written = write_json(args.json, report.to_json(explored, path))
    lines: list[Line] = []
    if explored.interrupted and args.checkpoint:
        lines = [line(f"  the same command goes on from {args.checkpoint}")]
    if args.back is not None and explored.ways is None:
        lines.append(line("  way back: not looked for, as the search found this, or ended early"))
    draw(explored, lines, kept, sys.stderr if args.json == STDOUT else sys.stdout)
    lost = explored.ways is not None and bool(explored.ways.unexplained)
    return exit_code(explored) or int(lost) or (0 if written else 3)


def draw(explored: Explored, more: list[Line], kept: TraceFile, stream: IO[str]) -> None:
    """Print the result; with a counterexample all of it fits on one page."""
    found, known = explored.trace, explored.exploration.known
    defects = known_defects(known, MAX_DEFECTS if found else None)
    back = ways_back(explored.ways) if explored.ways else []
    lines = [*report.verdict(explored), *more, *defects, *back]
    if found is None:
        show(lines, stream)
        draw_unconfirmed(kept, stream)
        return
    draw_page([*lines, line()], found, found.variant(), kept, stream)
