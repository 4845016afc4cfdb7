"""The pairs of a race, drawn: a matrix, and what is to be said of each that is not safe."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters

from rich.text import Text

from hotplug_model.contenders import Kinds
from hotplug_model.ops import drawn_ops
from hotplug_model.ops.interleave import Interleave
from hotplug_model.race import Pair
from hotplug_model.report.columns import columns, passed
from hotplug_model.report.lines import line, paragraph
from hotplug_model.trace import Trace
from hotplug_model.walkers import READERS

GLYPHS = {
    "safe": ".", "known": "k", "accepted": "r", "alone": "a", "unsafe": "X", "never": "-",
    "flaky": "?",
}  # fmt: skip
MEANINGS = (
    ". safe  X unsafe  k known defect of mainline  r race that the kernel accepts",
    "a breaks even one after the other  - never possible at once  ? flaky, it did not repeat",
)


def matrix(pairs: Sequence[Pair]) -> list[Text]:
    """A row and a column for each operation, of which what is left of the diagonal says it
    all; then a row for each walker. What was not raced is left out."""
    names = list(drawn_ops())
    verdicts: dict[Kinds, str] = {pair.kinds: pair.verdict for pair in pairs}
    walkers = list(dict.fromkeys(first for first, _ in verdicts if first in READERS))
    if len(verdicts) == len(names) * len(walkers):
        names = []
    rows = [(name, names[:nr]) for nr, name in enumerate(names, 1)]
    return drawn(verdicts, rows + [(walker, list(drawn_ops())) for walker in walkers])


def drawn(verdicts: dict[Kinds, str], rows: list[tuple[str, list[str]]]) -> list[Text]:
    """The rows, each with what it is raced with."""
    names = list(drawn_ops())
    width = max(len(name) for name, _ in rows)
    letters = dict(zip(names, ascii_letters, strict=False))
    lines = [line(f"  {'':{width}}   {' '.join(letters.values())}", "bold")]
    for name, others in rows:
        cells = " ".join(GLYPHS[verdicts[kinds_of(name, other)]] for other in others)
        lines.append(line(f"  {name:{width}} {letters.get(name, ''):1} {cells}"))
    if rows[0][0] in READERS:
        legend = " ".join(f"{letter} {name}" for name, letter in letters.items())
        lines += paragraph(legend, "  ", len(names))
    return [*lines, *(line(f"  {meaning}") for meaning in MEANINGS)]


def kinds_of(row: str, column: str) -> Kinds:
    """How the pair in a cell is called."""
    return (row, column) if row in READERS else (column, row)


def told(pair: Pair, path: str, own: Sequence[str] = ()) -> list[Text]:
    """What became of one pair; of an unsafe one its shortest schedule, and how to draw it with
    what is the user's *own*."""
    both = f"{pair.kinds[0]} with {pair.kinds[1]}"
    if pair.flaky:
        return [
            *paragraph(f"flaky: {both}: {pair.flaky}", "  ", 4),
            line("  please report this as a bug"),
            line(f"  unconfirmed: {path}"),
        ]
    if pair.trace is None:
        why = f": {', '.join(sorted(pair.defects))}" if pair.defects else ""
        return paragraph(f"{pair.verdict}: {both}{why}", "  ", 4)
    *first, last = f"hotplug-model show {path}", *(f"  {each}" for each in own)
    drawn_by = [*(each + " \\" for each in first), last]
    return [
        line(f"  unsafe: {both}: {', '.join(pair.trace.violates)}", "bold red"),
        *schedule(pair.trace),
        *(line(f"  {each}") for each in drawn_by),
    ]


def schedule(trace: Trace) -> list[Text]:
    """What came before, and who then went how far."""
    *before, event = trace.events
    lines = [line(f"  before: {each}") for each in before]
    if isinstance(event, Interleave):
        return [*lines, *columns(event, passed(trace))]
    return [*lines, line(f"  then: {event}")]
