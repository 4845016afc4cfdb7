"""``hotplug-model list``: everything that has a name."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from typing import TypeAlias

from hotplug_model.boot import every_layout
from hotplug_model.catalogue import (
    TABLES,
    every_walker,
    first_line,
    kernel_source,
    since,
    source_of,
)
from hotplug_model.changes import CHANGES, RELEASES, Change, KernelVariant
from hotplug_model.defects import DEFECTS
from hotplug_model.geometry import GEOMETRIES, Geometry
from hotplug_model.invariants import INVARIANTS, SOMETIMES
from hotplug_model.markdown import markdown
from hotplug_model.ops import OPS
from hotplug_model.report.lines import WIDTH

Entry: TypeAlias = tuple[str, str, str]
"""Name, one line about it, and its source, which may be empty."""
COMMIT_ID = re.compile(r"[0-9a-f]{12}")
"""Other names stand for commits whose id could not be confirmed."""


def run(args: argparse.Namespace) -> int:
    """Print one kind of names, a line each, as JSON, or as Markdown."""
    if args.markdown:
        print(markdown(TABLES[args.what]()), end="")
        return 0
    entries = LISTS[args.what]()
    if args.json:
        keys = ("name", "doc", "source")
        print(json.dumps([dict(zip(keys, entry, strict=True)) for entry in entries], indent=2))
        return 0
    indent = min(40, max((len(name) for name, _, _ in entries), default=0))
    for name, doc, source in entries:
        text = f"{name:<{indent}}  {doc}" + (f" [{source}]" if source else "")
        print(text if len(text) <= WIDTH else text[: WIDTH - 3] + "...")
    return 0


def origin(change: Change) -> str:
    """Where a change comes from."""
    if not change.commit:
        return source_of(change.rewrite)
    named = f"commit {change.name} " if COMMIT_ID.fullmatch(change.name) else ""
    return f"{named}(in {since(change)})"


def sizes(geometry: Geometry) -> str:
    """A geometry in a line."""
    return (
        f"pages of {geometry.page_bytes} bytes, {geometry.pages_per_subsection} in a subsection, "
        f"{geometry.pages_per_section} in a section, struct page of "
        f"{geometry.struct_page_bytes} bytes"
    )


def lacks(release: str) -> str:
    """What a release lacks of mainline."""
    undone = [change.name for change in KernelVariant.named(release, ()).undone]
    return f"without {', '.join(undone)}" if undone else "as mainline"


def mainline_does(accepted: bool) -> list[Entry]:
    """What mainline gets wrong, or accepts."""
    items = [(n, d.rows) for n, d in DEFECTS.items() if d.accepted == accepted]
    return [(n, first_line(rows), source_of(rows)) for n, rows in items]


LISTS: dict[str, Callable[[], list[Entry]]] = {
    "ops": lambda: [(n, first_line(op), kernel_source(op)) for n, op in OPS.items()],
    "walkers": lambda: [(n, w.doc, w.file) for n, w in every_walker()],
    "invariants": lambda: [(n, i.message, i.source) for n, i in INVARIANTS.items()],
    "changes": lambda: [(n, c.subject, origin(c)) for n, c in CHANGES.items()],
    "releases": lambda: [(name, lacks(name), "") for name in RELEASES],
    "geometries": lambda: [(n, sizes(g), "") for n, g in GEOMETRIES.items()],
    "boots": lambda: [(n, first_line(make), "") for n, make in every_layout()],
    "defects": lambda: mainline_does(accepted=False),
    "accepted": lambda: mainline_does(accepted=True),
    "sometimes": lambda: [(n, first_line(s), source_of(s)) for n, s in SOMETIMES.items()],
}
"""In the order of ``hotplug_model.cli.LISTS``."""
