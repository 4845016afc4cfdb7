"""What ``check`` and ``walk`` share: keep what is found, draw it, say it in a code."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeAlias

from hotplug_model.boot import LAYOUTS, ON_REQUEST, BootLayout, find_layout
from hotplug_model.changes import KernelVariant
from hotplug_model.cli import complain
from hotplug_model.commands.arguments import read_text
from hotplug_model.commands.fresh import disagreement
from hotplug_model.commands.interrupt import PatientInterrupt
from hotplug_model.coverage import Coverage
from hotplug_model.errors import UserError
from hotplug_model.geometry import Geometry
from hotplug_model.report import summary
from hotplug_model.report.counterexample import MAX_LINES, page
from hotplug_model.report.lines import Line, line, printable, show
from hotplug_model.report.progress import CheckProgress
from hotplug_model.trace import Trace
from hotplug_model.trace_file import TraceFile
from hotplug_model.trace_json import boot_from_json, parse_json
from hotplug_model.verdict import Report, Result

STDOUT = "-"
Search: TypeAlias = Callable[[Callable[[Coverage], None], Callable[[Trace], None]], Report]
"""Searches, given what to call with every step and with every counterexample."""


def conduct(
    args: argparse.Namespace, search: Search, progress: CheckProgress, found: dict[str, str | int]
) -> int:
    """Search, write the counterexample, then draw the report: its exit code.

    *found* says how the counterexample was found. There is no report if a second Ctrl-C
    came while the counterexample was being minimised.
    """
    kept = TraceFile(Path(args.traces))

    def keep(trace: Trace) -> None:
        progress.found(trace)
        kept.write(dataclasses.replace(trace, found=found | trace.found))

    def step(coverage: Coverage) -> None:
        progress.step(coverage)
        interrupt.poll()

    with PatientInterrupt() as interrupt, progress:
        try:
            report = search(step, keep)
        except KeyboardInterrupt:
            complain(f"interrupted; counterexample so far: {kept.path or 'none'}")
            return 130
        confirm(report)
    report.interrupted |= interrupt.asked
    if kept.problem:
        complain(kept.problem)
    trace_path = str(kept.path) if report.trace is not None and kept.path else None
    written = write_json(args.json, summary.to_json(report, trace_path))
    draw(report, kept, sys.stderr if args.json == STDOUT else sys.stdout)
    code = exit_code(report)
    return 3 if code in (0, 4) and not written else code


def confirm(report: Result) -> None:
    """A counterexample is one if fresh processes say so; else the verdict is flaky."""
    if report.trace is not None and (reason := disagreement(report.trace)):
        report.flaky, report.trace, report.violations = reason, None, []


def exit_code(report: Result) -> int:
    """What the process says about the result."""
    if report.interrupted:
        return 130
    if report.flaky:
        return 3
    if report.trace is not None:
        return 1
    if report.stopped:
        return 3
    return 4 if isinstance(report, Report) and report.missed else 0


def layouts(boot: str | None, geometry: Geometry) -> dict[str, BootLayout]:
    """The layouts to draw from: all, the one that is named, or the one in a file."""
    if boot is None:
        return {name: make(geometry) for name, make in LAYOUTS.items()}
    named = boot in LAYOUTS or boot in ON_REQUEST
    if named or not (Path(boot).exists() or boot.endswith(".json")):
        return {boot: find_layout(boot)(geometry)}
    try:
        return {boot: boot_from_json(parse_json(read_text(boot)), geometry)}
    except UserError as error:
        raise UserError(f"{boot}: {error}") from None


def command_of(args: argparse.Namespace, *options: str) -> str:
    """The command line that repeats the search."""
    words = ["hotplug-model", args.command]
    for name in args.change:
        words += ["--change", name]
    for option in ("release", "geometry", "boot", *options, "seed"):
        value = getattr(args, option, None)
        words += [] if value is None else [f"--{option}", str(value)]
    switches = [f"--{name}" for name in ("strict", "faults", "races") if getattr(args, name, False)]
    return shlex.join([*words, *switches])


def draw(report: Report, kept: TraceFile, stream: IO[str]) -> None:
    """Print the result; with a counterexample all of it fits on one page."""
    found = report.trace
    lines = [summary.verdict(report), *summary.why_no_verdict(report)]
    lines += summary.known_defects(report.coverage.known, summary.MAX_DEFECTS if found else None)
    if found is None:
        table = summary.coverage_table(report)
        show([*lines, *table, *summary.failed_allocations(report)], stream)
        draw_unconfirmed(kept, stream)
        return
    lines += [summary.minimal(found), line("  " + summary.pairs(report.coverage)), line()]
    draw_page(lines, found, report.request.variant, kept, stream)


def draw_unconfirmed(kept: TraceFile, stream: IO[str]) -> None:
    """Say where a counterexample is that did not repeat."""
    if kept.path is not None:
        print(f"  unconfirmed counterexample: {printable(str(kept.path))}", file=stream)


def draw_page(
    lines: list[Line], found: Trace, variant: KernelVariant, kept: TraceFile, stream: IO[str]
) -> None:
    """Print the counterexample below *lines*, and all of it if it could not be written."""
    path = None if kept.path is None or kept.problem else str(kept.path)
    show([*lines, *page(found, path, variant, MAX_LINES - len(lines))], stream)
    if path is None:
        print("\nThe trace, as it could not be written; save it and replay it:\n", file=stream)
        print(found.dumps(), end="", file=stream)


def refuse_unwritable(path: str | None) -> None:
    """A JSON file that cannot be written is better known before the search than after."""
    if path in (None, STDOUT):
        return
    target = Path(str(path))
    reason = None
    if target.is_dir():
        reason = errno.EISDIR
    elif not target.parent.is_dir():
        reason = errno.ENOENT
    elif not os.access(target if target.exists() else target.parent, os.W_OK):
        reason = errno.EACCES
    if reason is not None:
        raise UserError(f"cannot write JSON to {path}: {os.strerror(reason)}")


def write_json(path: str | None, result: dict[str, Any]) -> bool:
    """Write the JSON where it is wanted; False if that failed."""
    if path is None:
        return True
    text = json.dumps(result, indent=2) + "\n"
    if path == STDOUT:
        sys.stdout.write(text)
        return True
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        complain(f"cannot write JSON to {path}: {error.strerror}")
        return False
    return True
