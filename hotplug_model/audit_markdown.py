"""The audit as Markdown tables."""

from __future__ import annotations

from hotplug_model.audit import Audit, Cell, Comparison
from hotplug_model.markdown import Table, code
from hotplug_model.page_state import TRUTHS
from hotplug_model.report.audit_table import LETTERS, beyond, by_file, glyph


def audit_table(found: Audit) -> Table:
    """The matrix: a row a user and decision, a column a state."""
    rules = found.variant.rules()
    rows = [
        (
            code(of.name), of.decides.value,
            *(glyph(found, of, state)[0] for state in TRUTHS), of.selected(rules),
        )
        for of in by_file()
    ]  # fmt: skip
    return Table(heading=("user", "decides", *LETTERS.values(), "asks"), rows=rows)


def series_table(compared: list[Comparison]) -> Table:
    """A row a way to apply seed 000."""
    rows = [
        (
            code(each.change), each.subject, str(len(each.audit.bad())), str(each.fixed),
            newly_wrong(beyond(each, compared)),
        )
        for each in compared
    ]  # fmt: skip
    heading = (
        "change",
        "what is applied",
        "wrong",
        "mended",
        "newly wrong; below the first row beyond it",
    )
    return Table(heading=heading, rows=rows)


def newly_wrong(cells: list[Cell]) -> str:
    """Users, each with the states that it decides wrongly of."""
    states: dict[str, dict[str, None]] = {}
    for cell in cells:
        states.setdefault(cell.user.name, {})[cell.state.name.lower()] = None
    return ", ".join(f"{code(name)} ({', '.join(of)})" for name, of in states.items()) or "none"
