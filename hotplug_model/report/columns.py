"""An interleaving as the kernel draws a race: a column a context, time downwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from string import ascii_uppercase

from rich.text import Text

from hotplug_model.changes import KernelVariant
from hotplug_model.checker import QUIESCENT, carry_out
from hotplug_model.contexts import RETURNS, WAITS
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.ops.interleave import Interleave
from hotplug_model.ops.walk import Walk
from hotplug_model.report.lines import WIDTH, line
from hotplug_model.report.state_table import describe
from hotplug_model.trace import Trace

MOST = 3
"""Milestones in a row of which all are shown; of more the first and the last."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A milestone of the last step, and the invariants that break there."""

    column: int | None
    """Whose it is; None if it is nobody's."""
    milestone: str
    broke: tuple[str, ...]
    saw: str = ""
    """What a walker finds at its pfn; empty of an operation."""


def passed(trace: Trace, variant: KernelVariant | None = None) -> list[Passed]:
    """What the last step of *trace*, an interleaving, passes on its way."""
    checker, last = trace.machine(variant), trace.events[-1]
    for event in trace.events[:-1]:
        carry_out(checker.kernel, event)
    known = {v.invariant for v in checker.look(QUIESCENT)}
    found: list[Passed] = []

    def at(milestone: str) -> None:
        seen = checker.look(milestone)
        broke = [v.invariant for v in seen if checker.strict or v.defect is None]
        new = tuple(dict.fromkeys(name for name in broke if name not in known))
        known.update(new)
        name, colon, rest = milestone.partition(": ")
        column = ascii_uppercase.index(name) if colon else None
        saw = "" if column is None else seen_by(last, column, checker.kernel)
        found.append(Passed(column, rest if colon else milestone, new, saw))

    carry_out(checker.kernel, last, at)
    at(QUIESCENT)
    return found if found[-1].broke else found[:-1]


def seen_by(event: Op, column: int, kernel: Kernel) -> str:
    """What a walker that is in *column* finds at its pfn now."""
    context = event.contexts[column] if isinstance(event, Interleave) else event
    if not isinstance(context, Walk):
        return ""
    x = kernel.extents()
    sect, _, content, node, *_ = describe(x, x.row_at(context.pfn))
    return f"sees {sect} {content}" + (f" {node}" if node != "-" else "")


def columns(event: Interleave, milestones: Sequence[Passed]) -> list[Text]:
    """The requests, then a line a milestone in the column of its context."""
    nr = len(event.contexts)
    width = (WIDTH - 4) // nr
    names = ascii_uppercase[:nr]
    lines = [line(f"  {name}  {op}") for name, op in zip(names, event.contexts, strict=True)]
    heading = "    " + "".join(name.ljust(width) for name in names)
    lines += [line(), line(heading.rstrip(), "bold")]
    for column, group in groupby(told_once(milestones), lambda each: each.column):
        indent = " " * (4 + width * (column or 0))
        for text, style in stretch(list(group), column is not None):
            lines.append(line((indent + text)[:WIDTH], style))
    return lines


def told_once(milestones: Sequence[Passed]) -> list[Passed]:
    """What a walker sees only where it is not what the same one saw last."""
    last: dict[int | None, str] = {}
    told = []
    for each in milestones:
        new = each.saw != last.get(each.column, "")
        last[each.column] = each.saw
        told.append(each if new else replace(each, saw=""))
    return told


def stretch(run: list[Passed], is_left: bool) -> list[tuple[str, str]]:
    """The lines of milestones in a row: what breaks, and where the context was left."""
    shown: list[tuple[str, str]] = []
    skipped = 0
    for number, each in enumerate(run):
        if 0 < number < len(run) - 1 and len(run) > MOST and not each.broke and not each.saw:
            skipped += 1
            continue
        if skipped:
            shown.append((f"... {skipped} more", "dim"))
            skipped = 0
        last = number == len(run) - 1
        left = last and is_left and not each.milestone.startswith((RETURNS, WAITS))
        shown.append((each.milestone + ("  (left here)" if left else ""), ""))
        shown += [(f"  {each.saw}", "dim")] if each.saw else []
        shown += [(f"! {name}", "bold red") for name in each.broke]
    return shown
