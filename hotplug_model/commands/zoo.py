"""``hotplug-model zoo``: hunt every bug that the model knows."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from hotplug_model.catalogue import since
from hotplug_model.changes import CHANGES, change_called
from hotplug_model.errors import UserError
from hotplug_model.hunt import BUDGET, Hunt, Hunted, hunts, quarry
from hotplug_model.markdown import Row, Table, code, markdown
from hotplug_model.words import counted
from hotplug_model.zoo import ROWS

HEADING = ("change", "row", "in", "found", "steps", "events", "seconds", "violates")
WIDTHS = (30, 6, 14, 7, 8, 7, 8, 0)


def run(args: argparse.Namespace) -> int:
    """Hunt, and print a row as soon as its hunts are over; 1 if one was in vain.

    Where the result is for a machine, or a document, the rows go to stderr.
    """
    names = chosen([change_called(name) for name in args.change])
    results = hunts(names, args.seeds, args.workers or os.cpu_count() or 1)
    done = list(shown(results, sys.stderr if args.json or args.markdown else sys.stdout))
    if args.json:
        print(json.dumps([as_json(each) for each in done], indent=2))
    elif args.markdown:
        rows = [marked(row_of(each)) for each in done]
        print(markdown(Table(heading=HEADING, rows=rows)), end="")
    else:
        print(verdict(done))
    return 0 if all(len(each.found) == len(each.hunts) for each in done) else 1


def chosen(names: list[str]) -> list[str]:
    """The changes to hunt: those that are named, or all that break something."""
    for name in names:
        if not CHANGES[name].breaks:
            raise UserError(f"change {name!r} is no bug: it breaks nothing")
    return list(dict.fromkeys(names)) or quarry()


def shown(results: Iterator[Hunted], to: TextIO) -> Iterator[Hunted]:
    """Print each result as it comes."""
    print(aligned(HEADING), file=to)
    for each in results:
        print(aligned(row_of(each)), file=to, flush=True)
        yield each


def aligned(row: Row) -> str:
    """One line of columns."""
    return " ".join(text.ljust(width) for text, width in zip(row, WIDTHS, strict=True)).rstrip()


def marked(row: Row) -> Row:
    """A row whose names are in code style."""
    violates = ", ".join(code(name) for name in row[-1].split(", "))
    return (code(row[0]), *row[1:-1], violates)


def row_of(each: Hunted) -> Row:
    """What came of hunting one change."""
    trace, change = each.shortest, CHANGES[each.change]
    return (
        change.name,
        zoo_row(change.name),
        since(change),
        f"{len(each.found)} of {len(each.hunts)}",
        "-" if each.steps is None else f"{each.steps:.0f}",
        "-" if trace is None else str(len(trace.events)),
        "-" if each.seconds is None else f"{each.seconds:.2f}",
        "-" if trace is None else ", ".join(trace.violates),
    )


def zoo_row(name: str) -> str:
    """The rows of the zoo that a change belongs to, if any."""
    return ", ".join(str(row.number) for row in ROWS if name in row.changes) or "-"


def verdict(done: list[Hunted]) -> str:
    """All in one line."""
    missed = [each.change for each in done if len(each.found) < len(each.hunts)]
    seeds = len(done[0].hunts)
    of = f"{counted(len(done), 'bug')} on {counted(seeds, 'seed')}, {BUDGET} operations each"
    return f"missed {', '.join(missed)} of {of}" if missed else f"found all of {of}"


def as_json(each: Hunted) -> dict[str, Any]:
    """One change, with every hunt."""
    change = CHANGES[each.change]
    return {
        "change": change.name,
        "subject": change.subject,
        "since": change.since,
        "row": zoo_row(change.name),
        "breaks": change.breaks,
        "found": len(each.found),
        "steps": each.steps,
        "seconds": each.seconds,
        "hunts": [hunt_json(one) for one in each.hunts],
    }


def hunt_json(one: Hunt) -> dict[str, Any]:
    """One hunt; of its trace what it breaks and how long it is."""
    trace = one.trace
    return {
        "seed": one.seed,
        "found": trace is not None,
        "steps": one.steps,
        "seconds": one.seconds,
        "events": len(trace.events) if trace else None,
        "violates": trace.violates if trace else None,
    }
