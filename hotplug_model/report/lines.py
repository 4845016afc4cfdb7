"""Lines of text, never wider than a report may be."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable
from typing import IO, TypeAlias

from rich.console import Console
from rich.text import Text

WIDTH = 100
Line: TypeAlias = Text
"""For those who pass lines on without making any."""


def line(text: str = "", style: str = "") -> Text:
    """One line: cut at the width, and free of control characters."""
    shown = printable(text)
    return Text(shown if len(shown) <= WIDTH else shown[: WIDTH - 3] + "...", style=style)


def printable(text: str) -> str:
    """*text* without anything that could move a cursor; traces come from anywhere."""
    return "".join(c if c.isprintable() else "?" for c in text)


def paragraph(text: str, indent: str, most: int) -> list[Text]:
    """*text* wrapped into at most *most* lines, each behind *indent*."""
    wrapped = textwrap.wrap(
        printable(text.replace("\n", " ")),
        WIDTH - len(indent),
        max_lines=most,
        placeholder=" ...",
    )
    return [line(indent + each) for each in wrapped] if most > 0 else []


class Page(Console):
    """A console that leaves a closed pipe to whoever prints."""

    def on_broken_pipe(self) -> None:
        """Let the error through: nobody reads any more, which is no verdict."""
        raise BrokenPipeError


def show(lines: Iterable[Text], file: IO[str] | None = None) -> None:
    """Print to *file*, by default stdout; coloured on a terminal only."""
    console = Page(file=file or sys.stdout, width=WIDTH, highlight=False, soft_wrap=True)
    for each in lines:
        console.print(each, no_wrap=True, overflow="ignore", crop=False)
