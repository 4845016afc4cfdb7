"""The audit as text: the matrix, what is wrong, and what became of the series."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TypeVar

from rich.text import Text

from hotplug_model.audit import Audit, Cell, Comparison, Verdict
from hotplug_model.page_state import TRUTHS, PageState
from hotplug_model.report.lines import line, paragraph
from hotplug_model.scenes import Scene
from hotplug_model.users import IRRELEVANT, USERS, User

T = TypeVar("T")
LETTERS = dict(zip(TRUTHS, "abcdefghijklmnopqrstuvwxyz", strict=False))
"""Heads the column of each state."""
GROUPS = (6, 10, 13, 18)
"""Columns behind which there is a gap: no memmap and online, offline, nobody's, devices."""
STYLES = {Verdict.RIGHT: "", Verdict.BLIND: "yellow", Verdict.WRONG: "bold red"}
KEY = (
    "y, n: it decides yes or no, rightly or to nobody's harm; Y, N: wrongly; ?: it reads a "
    "struct page that nobody wrote, or not for what the page is now; *: both, in different "
    "places; .: it is never asked; blank: the kernel has no such user, or no way to the state "
    "was found"
)


def glyph(found: Audit, of: User, state: PageState) -> tuple[str, str]:
    """What stands in a cell, and its style."""
    cell = found.cells.get((of.key, state))
    if cell is None:
        asked = state in of.reach and state not in found.reached
        return (" " if of.form(found.variant.rules()) is None or asked else "."), ""
    style = STYLES[cell.verdict]
    if cell.verdict == Verdict.BLIND:
        return "?", style
    says = {each.says for each in cell.decided if each.verdict == cell.verdict}
    if len(says) > 1:
        return "*", style
    letter = "y" if says.pop() else "n"
    return (letter.upper() if cell.verdict == Verdict.WRONG else letter), style


def matrix(found: Audit) -> list[Text]:
    """One row a user and decision, one column a state."""
    head = " ".join("".join(group) for group in gaps([*LETTERS.values()]))
    rows = [line(f"  {'user of PageReserved()':<33} {'decides':<10} {head}", "bold")]
    for of in by_file():
        row = line(f"  {of.name:<33} {of.decides.value:<10} ")
        for group in gaps([glyph(found, of, state) for state in TRUTHS]):
            for shown, style in group:
                row.append(shown, style)
            row.append(" ")
        rows.append(row)
    return rows


def gaps(columns: list[T]) -> list[list[T]]:
    """The columns in groups."""
    ends = [*GROUPS, len(columns)]
    return [columns[start:end] for start, end in zip([0, *GROUPS], ends, strict=True)]


def by_file() -> list[User]:
    """Users that seed 000 prepares first, then all others, by kernel source file."""
    return sorted(USERS, key=lambda of: (patch_number(of), of.file))


def patch_number(of: User) -> int:
    """Which patch of seed 000 is about a user; a large number if none is."""
    number = of.thread.removeprefix("patch ")
    return int(number) if number.isdigit() else 99


def legend(found: Audit) -> list[Text]:
    """What the letters stand for."""
    return [
        line(f"  {letter}  {TRUTHS[state].what}" + ("" if state in found.reached else " (unseen)"))
        for state, letter in LETTERS.items()
    ]


def trace(scene: Scene) -> str:
    """How a state is reached, in words that ``show`` uses."""
    ops = "; ".join(map(str, scene.ops)) or "right after boot"
    at = f", at {scene.milestone}" if scene.milestone else ""
    return f"boot {scene.boot}: {ops}{at}"


def wrong(cells: Iterable[Cell]) -> list[Text]:
    """What is wrong, by user, with a way to each state."""
    rows = []
    ordered = sorted(cells, key=order)
    for _, group in groupby(ordered, key=lambda cell: (cell.user.key, cell.verdict)):
        same = list(group)
        first = same[0]
        states = ", ".join(state_name(cell.state) for cell in same)
        what = "reads uninitialised" if first.verdict == Verdict.BLIND else "is wrong of"
        head = f"{first.user.name} ({first.user.file}), {first.user.decides.value}: {what}"
        rows += paragraph(f"{head} {states}", "  ", 4)
        rows += paragraph(trace(first.scene), "      ", 3)
        if first.user.thread.startswith("should"):
            rows += paragraph(f"the thread: {first.user.thread}", "      ", 2)
    return rows


def order(cell: Cell) -> tuple[int, str, str, int]:
    """Users in the order of the matrix, then wrong before blind, then states."""
    worst_first = "blind" if cell.verdict == Verdict.BLIND else "a"
    return patch_number(cell.user), cell.user.key, worst_first, [*TRUTHS].index(cell.state)


def state_name(state: PageState) -> str:
    """A state with its letter."""
    return f"{LETTERS[state]} {state.name.lower()}"


def summary(compared: list[Comparison]) -> list[Text]:
    """A row a way to apply the series."""
    heading = "newly wrong; below the first row beyond it"
    rows = [line(f"  {'seed 000':<34} {'wrong':>5} {'mended':>6}  {heading}", "bold")]
    for each in compared:
        names = ", ".join(dict.fromkeys(cell.user.name for cell in beyond(each, compared)))
        nr_bad = len(each.audit.bad())
        names = names or "none"
        rows.append(line(f"  {each.subject:<34} {nr_bad:>5} {each.fixed:>6}  {names}"))
    return rows


def beyond(each: Comparison, compared: list[Comparison]) -> list[Cell]:
    """What is newly wrong with a way to apply the series, and not with all of it."""
    whole = compared[0]
    known = set() if each is whole else {(cell.user.key, cell.state) for cell in whole.new}
    return [cell for cell in each.new if (cell.user.key, cell.state) not in known]


def irrelevant() -> list[Text]:
    """Users that need no row."""
    rows = []
    for why, group in groupby(IRRELEVANT, key=lambda each: each.why):
        names = ", ".join(f"{each.file}:{each.name}()" for each in group)
        rows += paragraph(f"{names}: {why}", "  ", 6)
    return rows
