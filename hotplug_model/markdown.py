"""Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Row: TypeAlias = tuple[str, ...]
WIDEST = 40
"""Columns are aligned up to so many characters; longer cells push the rest of their line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A heading and rows of as many cells."""

    heading: Row
    rows: Sequence[Row]


def markdown(table: Table) -> str:
    """The table with its columns aligned; the last one, which is prose, is not padded."""
    rows = [tuple(map(cell, row)) for row in table.rows]
    columns = zip(table.heading, *rows, strict=True)
    widths = [min(max(map(len, column)), WIDEST) for column in columns]
    rule = tuple("-" * width for width in widths[:-1])
    lines = [table.heading, (*rule, "---"), *rows]
    return "\n".join(padded(row, widths) for row in lines) + "\n"


def padded(row: Row, widths: list[int]) -> str:
    """One line of a table."""
    cells = [text.ljust(width) for text, width in zip(row[:-1], widths, strict=False)]
    return f"| {' | '.join([*cells, row[-1]])} |"


def cell(text: str) -> str:
    """*text*, from a docstring, as Markdown on one line."""
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


def code(name: str) -> str:
    """*name* in code style."""
    return f"`{name}`"
