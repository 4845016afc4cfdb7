"""``hotplug-model releases``: which of the bugs that are known each release has."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from hotplug_model.affected import ASKED, DISAGREEMENTS, Affected, affected
from hotplug_model.catalogue import affected_table
from hotplug_model.commands.arguments import load_trace
from hotplug_model.errors import UserError
from hotplug_model.markdown import markdown

MARK = "x"


def run(args: argparse.Namespace) -> int:
    """Replay the traces on every release, and print a row for each bug."""
    files = args.files or sorted(map(str, Path("regressions").glob("*.json")))
    if not files:
        raise UserError("no traces: name files, or run it where regressions/ is")
    found = affected([load_trace(path, []) for path in files])
    if args.json:
        print(json.dumps([as_json(each) for each in found], indent=2))
    elif args.markdown:
        print(markdown(affected_table(list(found))), end="")
    else:
        print(aligned("change", ASKED))
        for each in found:
            cells = tuple(MARK if name in each.releases else "." for name in ASKED)
            print(aligned(each.change.name, cells), flush=True)
    return 0


def aligned(name: str, cells: tuple[str, ...]) -> str:
    """One line of columns."""
    return " ".join([name.ljust(30), *(cell.ljust(4) for cell in cells)]).rstrip()


def as_json(each: Affected) -> dict[str, Any]:
    """One bug."""
    change = each.change
    return {
        "change": change.name,
        "subject": change.subject,
        "since": change.since,
        "breaks": change.breaks,
        "releases": {name: name in each.releases for name in ASKED},
        "disagreement": DISAGREEMENTS.get(change.name),
    }
