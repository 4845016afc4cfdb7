"""``hotplug-model audit``: every user of PageReserved() against every state of a page."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from typing import Any

from hotplug_model.audit import BEFORE, SERIES, Audit, Cell, Comparison, audit, compare
from hotplug_model.audit_markdown import audit_table, series_table
from hotplug_model.changes import RELEASES, KernelVariant
from hotplug_model.changes.proposal_seed_000 import UNNOTICED
from hotplug_model.commands.arguments import named_variant
from hotplug_model.errors import UserError
from hotplug_model.markdown import markdown
from hotplug_model.page_state import TRUTHS
from hotplug_model.report import audit_table as report
from hotplug_model.report.lines import line, paragraph, show
from hotplug_model.users import IRRELEVANT, USERS

VIRTIO_MEM = (5, 8)
OLD = (
    "Fake-offline memory is shown as virtio-mem leaves it, which came in v5.8; before v5.1 "
    "nothing was PageOffline. Releases before 5.4 differ in more than is modelled."
)
"""Said of releases older than virtio-mem."""


def run(args: argparse.Namespace) -> int:
    """Audit and print; 1 if the changes make a decision wrong that was right, else 0."""
    for name in dict.fromkeys(args.user):
        import_users(name)
    variant = named_variant(args)
    found = audit(variant)
    base = audit(base_of(variant)) if variant.changes else None
    compared = [] if variant.changes else compare(args.release)[1]
    new = found.new(base) if base else []
    if args.json:
        print(json.dumps(as_json(found, new, base, compared), indent=2))
    elif args.markdown:
        tables = [audit_table(found), *([series_table(compared)] if compared else [])]
        print("\n".join(map(markdown, tables)), end="")
    else:
        print_report(found, new, base, compared)
    return 1 if new else 0


def import_users(name: str) -> None:
    """Import a module for the users that it registers."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    known = len(USERS)
    try:
        importlib.import_module(name)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"--user {name}: {type(error).__name__}: {error}") from error
    if len(USERS) == known:
        raise UserError(f"--user {name}: it registers no user of PageReserved()")


def base_of(variant: KernelVariant) -> KernelVariant:
    """What a kernel with changes is held against: without them; before seed 000 if they
    are of that series, whose users are gone or differ since."""
    of_series = any(change.name.startswith(SERIES) for change in variant.changes)
    return KernelVariant.named(variant.release, (BEFORE,) if of_series else ())


def print_report(
    found: Audit, new: list[Cell], base: Audit | None, compared: list[Comparison]
) -> None:
    """The matrix, its key, what is wrong, and the series."""
    show([line(f"PG_reserved audit of {found.variant}", "bold"), line()])
    show([*report.matrix(found), line(), *paragraph(report.KEY, "  ", 4), line()])
    show([*report.legend(found), line()])
    if RELEASES.get(found.variant.release or "", VIRTIO_MEM) < VIRTIO_MEM:
        show([*paragraph(OLD, "  ", 4), line()])
    cells = new if base else [found.cells[key] for key in found.bad()]
    what = f"wrong that was right on {base.variant}" if base else "wrong"
    show([line(f"{what}: {len(cells)} of {len(found.cells)} decisions", "bold")])
    show([*report.wrong(cells), line()])
    if compared:
        show([*report.summary(compared), line()])
        for name, why in UNNOTICED.items():
            show(paragraph(f"nothing can notice that patch {name} is left out: {why}", "  ", 6))
        show([line(), line("not asked, because they decide nothing about any such page:", "bold")])
        show(report.irrelevant())


def as_json(
    found: Audit, new: list[Cell], base: Audit | None, compared: list[Comparison]
) -> dict[str, Any]:
    """All of it as plain JSON."""
    rules = found.variant.rules()
    return {
        "variant": str(found.variant),
        "states": {
            state.name: {"what": truth.what, "reached": state in found.reached}
            for state, truth in TRUTHS.items()
        },
        "users": [
            {
                "name": of.name, "file": of.file, "decides": of.decides.value,
                "thread": of.thread, "form": of.selected(rules), "why": of.why,
                "reach": sorted(state.name for state in of.reach), "forms": sorted(of.forms),
            }
            for of in USERS
        ],
        "irrelevant": [
            {"name": each.name, "file": each.file, "why": each.why} for each in IRRELEVANT
        ],
        "cells": [cell_json(cell) for cell in found.cells.values()],
        "base": str(base.variant) if base else None,
        "new": [cell_json(cell) for cell in new],
        "series": [
            {
                "change": each.change, "wrong": len(each.audit.bad()), "mended": each.fixed,
                "new": [cell_json(cell) for cell in each.new],
            }
            for each in compared
        ],
        "unnoticed": dict(UNNOTICED),
    }  # fmt: skip


def cell_json(cell: Cell) -> dict[str, Any]:
    """One cell."""
    return {
        "user": cell.user.name, "decides": cell.user.decides.value, "state": cell.state.name,
        "verdict": cell.verdict.value, "says": sorted({each.says for each in cell.decided}),
        "boot": cell.scene.boot, "ops": [op.to_json() for op in cell.scene.ops],
        "milestone": cell.scene.milestone,
    }  # fmt: skip
