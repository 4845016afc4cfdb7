"""The pairs of a race, drawn: a matrix, and what is to be said of each that is not safe."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from hotplug_model.ops import drawn_ops
from hotplug_model.ops.interleave import Interleave
from hotplug_model.race import Kinds, Pair
from hotplug_model.report.columns import columns, passed
from hotplug_model.report.lines import line, paragraph
from hotplug_model.trace import Trace

GLYPHS = {"safe": ".", "known": "k", "alone": "a", "unsafe": "X", "never": "-"}
MEANINGS = (
    ". safe  X unsafe  k known defect of mainline",
    "a breaks even one after the other  - never possible at once",
)


def matrix(pairs: Sequence[Pair]) -> list[Text]:
    """A row and a column for each operation; what is left of the diagonal says it all."""
    names = list(drawn_ops())
    verdicts: dict[Kinds, str] = {pair.kinds: pair.verdict for pair in pairs}
    width = max(map(len, names))
    columns = " ".join(f"{nr:>2}" for nr in range(1, len(names) + 1))
    rows = [line(f"  {'':{width}}    {columns}", "bold")]
    for nr, name in enumerate(names, 1):
        cells = " ".join(f"{GLYPHS[verdicts[other, name]]:>2}" for other in names[:nr])
        rows.append(line(f"  {name:{width}} {nr:>2} {cells}"))
    return [*rows, *(line(f"  {meaning}") for meaning in MEANINGS)]


def told(pair: Pair, path: str) -> list[Text]:
    """What became of one pair; of an unsafe one its shortest schedule."""
    both = f"{pair.kinds[0]} with {pair.kinds[1]}"
    if pair.trace is None:
        why = f": {', '.join(sorted(pair.defects))}" if pair.defects else ""
        return paragraph(f"{pair.verdict}: {both}{why}", "  ", 4)
    return [
        line(f"  unsafe: {both}: {', '.join(pair.trace.violates)}", "bold red"),
        *schedule(pair.trace),
        line(f"  hotplug-model show {path}"),
    ]


def schedule(trace: Trace) -> list[Text]:
    """What came before, and who then went how far."""
    *before, event = trace.events
    lines = [line(f"  before: {each}") for each in before]
    if isinstance(event, Interleave):
        return [*lines, *columns(event, passed(trace))]
    return [*lines, line(f"  then: {event}")]
