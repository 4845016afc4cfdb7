"""One page about one trace: what was done, what it broke, where to look, how to repeat it."""

from __future__ import annotations

import dataclasses
import os
import shlex
from itertools import pairwise

import numpy as np
from rich.text import Text

from hotplug_model.boot import BootLayout, every_layout
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import QUIESCENT
from hotplug_model.flags import OnlineType
from hotplug_model.geometry import GEOMETRIES, Geometry
from hotplug_model.invariants import INVARIANTS, linear_map, vmemmap
from hotplug_model.invariants.walkers import walkers_now
from hotplug_model.ops import Op
from hotplug_model.ops.interleave import Interleave
from hotplug_model.pfn import PfnRange
from hotplug_model.report import state_table, strip, tables
from hotplug_model.report.columns import columns, passed
from hotplug_model.report.lines import WIDTH, line, paragraph, printable
from hotplug_model.report.story import Story, tell
from hotplug_model.trace import Trace
from hotplug_model.trace_file import replay_options
from hotplug_model.words import counted

MAX_LINES = 40
MAX_SCHEDULE = 18
"""Lines of a last step that is several operations at once, which come on top."""
MAX_NOTES = 6
"""Lines of a postmortem, which come on top."""
LEVELS = ((4, 6, False), (2, 4, False), (2, 4, True), (1, 2, True), (0, 1, True))
"""Steps that are shown of a long trace, from its start and to its end, and whether the
violations behind the first are brief; the first level that leaves room for the states."""
MAX_ROWS = 10
"""Rows of a table of states."""
STRIP_WIDTH = 30
LABEL = 15
"""Columns before the strip: step number and outcome."""


def page(
    trace: Trace,
    path: str | None,
    variant: KernelVariant | None = None,
    max_lines: int = MAX_LINES,
) -> list[Text]:
    """The whole report of *trace*, found at *path*; never longer than *max_lines*, but
    for a schedule of MAX_SCHEDULE lines and a postmortem of MAX_NOTES."""
    story = tell(trace, variant or trace.variant(), *LEVELS[0][:2])
    top, ending = [headline(story), *machine(story)], command(trace, path)
    for head, tail, brief in LEVELS:
        history, verdict = steps(story, head, tail), violated(story, brief)
        fixed = [top, history, verdict, ending]
        room = max_lines - sum(len(part) + bool(part) for part in fixed)
        states = state(story, room)
        if states or (room >= 0 and not story.violations):
            break
    notes, together = paragraph(trace.postmortem, "  ", MAX_NOTES), schedule(story)
    max_lines += sum(len(part) + bool(part) for part in (notes, together))
    parts = [part for part in (top, history, together, states, verdict, notes) if part]
    lines = [each for part in parts for each in (*part, line())]
    return [*lines[: max_lines - len(ending)], *ending] if ending else lines[:-1][:max_lines]


def headline(story: Story) -> Text:
    """What this is about, in a sentence."""
    nr, at = len(story.events), story.broken_at
    if at is None:
        return line(f"{story.variant} holds through {counted(nr, 'step')}", "bold green")
    where = "at boot" if at < 0 else f"in step {at + 1}"
    root = story.violations[0]
    return line(f"{story.variant} violates {root.invariant} {where}", "bold red")


def machine(story: Story) -> list[Text]:
    """The kernel, the sizes and the boot layout."""
    trace = story.trace
    g, boot = GEOMETRIES[trace.geometry], trace.boot
    kernel = [
        line(f"  {'undone' if c.commit else 'applied':<8} {c.name}: {c.subject}")
        for c in story.variant.changes[:3]
    ]
    sizes = (
        f"  machine  {trace.geometry}: pages of {g.page_bytes} bytes, "
        f"{g.pages_per_subsection:#x} in a subsection, {g.pages_per_section:#x} in a section"
    )
    return [*kernel, line(sizes), line(f"  boot     {layout(boot, g)}")]


def layout(boot: BootLayout, geometry: Geometry) -> str:
    """The boot layout in a line: its name, its RAM and what is not as usual."""
    names = [name for name, make in every_layout() if make(geometry) == boot]
    ram = ", ".join(f"{pfns} node {nid}" for pfns, nid in tables.joined_ram(boot))
    switches = [f for f in dataclasses.fields(boot) if isinstance(f.default, bool)]
    parts = [f"RAM {ram}"]
    if boot.sections_per_block > 1:
        parts.append(f"{boot.sections_per_block} sections a block")
    if boot.memhp_default_state != OnlineType.MMOP_OFFLINE:
        parts.append(f"memhp_default_state={boot.memhp_default_state.label}")
    for f in switches:
        if getattr(boot, f.name) != f.default:
            parts.append(f"{'no ' if f.default else ''}{f.name}")
    return (f"{names[0]}: " if names else "") + "; ".join(parts)


def steps(story: Story, head: int, tail: int) -> list[Text]:
    """The strip of the first *head* and the last *tail* steps, with a legend."""
    last = len(story.events) - 1
    shown = [i for i in sorted(story.outcomes) if i < head or i > last - tail]
    kernels = {index: story.after[index] for index in (-1, *shown)}
    midway = [story.at] if story.at is not None else []
    everything = [*kernels.values(), *midway]
    geometry = GEOMETRIES[story.trace.geometry]
    plan = strip.layout(geometry, everything, places(story), STRIP_WIDTH)
    hidden = f"  (+{plan.nr_hidden} more sections)" if plan.nr_hidden else ""
    lines = [
        line(f"  {'section':<{LABEL}}{plan.header}{hidden}", "bold"),
        row("boot", "", plan.draw(kernels[-1]), ""),
    ]
    for before, index in pairwise([-1, *shown]):
        if index > before + 1:
            lines.append(line(f"  {'':<{LABEL}}... {counted(index - before - 1, 'step')} ..."))
        lines += step(story, plan, index, index == last)
    if story.violations and not midway:
        lines += carets(story, plan)
    return [*lines, line(f"  {strip.legend(map(plan.draw, everything))}", "dim")]


def step(story: Story, plan: strip.Strip, index: int, last: bool) -> list[Text]:
    """One step; the last one in three parts if it broke something midway."""
    text, after = request(story.events[index]), plan.draw(story.after[index])
    if not last or story.at is None:
        return [row(str(index + 1), story.outcomes[index], after, text)]
    return [
        row(str(index + 1), "asked", "", text),
        row("", "midway", plan.draw(story.at), f"at {story.milestone}"),
        *carets(story, plan),
        row("", story.outcomes[index], after, "at its end"),
    ]


def schedule(story: Story) -> list[Text]:
    """Who went how far, a column each, if the last step is several operations at once."""
    last = story.events[-1] if story.events else None
    if not isinstance(last, Interleave):
        return []
    trace = dataclasses.replace(story.trace, events=story.events)
    return columns(last, passed(trace, story.variant))[:MAX_SCHEDULE]


def places(story: Story) -> list[PfnRange]:
    """What must be in the strip: where it broke and what the last step asked for."""
    everything = GEOMETRIES[story.trace.geometry].all_pfns
    ranges = [pfns for v in story.violations for pfns in v.pfns[:4]]
    if story.events:
        ranges += story.events[-1].pfns_touched()[:4]
    return [pfns.intersection(everything) for pfns in ranges]


def row(number: str, outcome: str, glyphs: str, text: str) -> Text:
    """One step: its number, what the kernel answered, the machine behind it, the request."""
    label = f"  {number:<5}{outcome:<{LABEL - 5}}"
    drawn = Text(label) + strip.coloured(glyphs) + ("  " if glyphs else "")
    room = WIDTH - len(drawn)
    shown = printable(text)
    return drawn + (shown if len(shown) <= room else shown[: room - 3] + "...")


def carets(story: Story, plan: strip.Strip) -> list[Text]:
    """Where it broke, below the strip."""
    below = plan.carets(pfns for v in story.violations for pfns in v.pfns)
    return [line(" " * (LABEL + 2) + below.rstrip() + " broken here", "bold red")]


def request(op: Op) -> str:
    """An operation as a reader wants it: nothing that is empty, off or as always."""
    words = [op.op_name()]
    if op.fail_at is not None:
        # Not at the end, where a long line is cut.
        words.append(f"fails at {op.fail_at}")
    usual = {field.name: field.default for field in dataclasses.fields(op)}
    for name, value in op.arguments().items():
        if value == () or value is False or value == usual[name]:
            continue
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        words.append(f"{name}={shown}")
    return " ".join(words)


def state(story: Story, room: int) -> list[Text]:
    """Tables of the affected sections: before, where it broke, and after the last step."""
    marked = tuple(pfns for v in story.violations for pfns in v.pfns)
    if not marked:
        return []
    last = len(story.events) - 1
    before = story.after[last - 1] if last >= 0 else None
    header, at = state_table.header(), story.at or story.after[last]
    legend = line(f"  {state_table.legend(at, marked)}", "dim")
    for most in range(MAX_ROWS, 0, -1):
        drawn = views(story, marked, most)
        if len(drawn) + 2 <= room:
            about = about_memmap(story), about_linear_map(story)
            extra = tables.changed(before, story.after[last], marked, *about)
            return [header, *drawn, *extra[: room - len(drawn) - 2], legend]
    return []


def about_memmap(story: Story) -> bool:
    """Whether the violation is about the memory behind the memmap."""
    checks = [INVARIANTS[violation.invariant].law for violation in story.violations]
    return any(check is not None and check.__module__ == vmemmap.__name__ for check in checks)


def about_linear_map(story: Story) -> bool:
    """Whether the violation is about what the linear map covers, or whose that was."""
    invariants = [INVARIANTS[violation.invariant] for violation in story.violations]
    where = [getattr(each.always or each.law, "__module__", "") for each in invariants]
    return linear_map.__name__ in where or any("linear_map" in each.name for each in invariants)


def views(story: Story, marked: tuple[PfnRange, ...], most: int) -> list[Text]:
    """The state before the last step, midway and after it, at most *most* rows each."""
    last = len(story.events) - 1
    kernels = [("after boot", story.after[-1])]
    if last >= 0:
        kernels = [(f"before step {last + 1}", story.after[last - 1])]
        if story.at is not None:
            kernels.append((f"midway in step {last + 1}, at {story.milestone}", story.at))
        kernels.append((f"after step {last + 1}", story.after[last]))
    lines, was = [], ""
    for title, kernel in kernels:
        drawn = state_table.table(kernel, marked, most)
        text = "\n".join(map(str, drawn))
        same = text == was
        lines += [line(f"  {title}{': the same' if same else ''}", "bold")]
        lines += [] if same else drawn
        was = text
    return lines


def violated(story: Story, brief: bool) -> list[Text]:
    """The broken invariants, the first one with all that is known about it."""
    violations, lines = story.violations, []
    for number, violation in enumerate(violations[:3]):
        shown = [str(pfns) for pfns in violation.pfns[:3]]
        if len(violation.pfns) > 3:
            shown.append(f"and {len(violation.pfns) - 3} more")
        when = "after the step" if violation.milestone == QUIESCENT else violation.milestone
        lines.append(
            line(f"violated: {violation.invariant} at {', '.join(shown)} ({when})", "bold red")
        )
        if number and brief:
            continue
        lines += paragraph(violation.message, "  ", 2)
        if violation.operation:
            lines += paragraph(f"Broken by {violation.operation}.", "  ", 6)
        if violation.source:
            lines += paragraph(f"Source: {violation.source}", "  ", 3 if number == 0 else 1)
        if number == 0:
            lines += paragraph(culprits(story), "  ", 2)
    if len(violations) > 3:
        lines.append(line(f"... and {len(violations) - 3} more violations of the same step"))
    return lines


def culprits(story: Story) -> str:
    """The walkers that see what the first violation is about."""
    first = story.violations[0]
    x = (story.at or story.after[len(story.events) - 1]).extents()
    starts = x.row_of(np.array([pfns.start_pfn for pfns in first.pfns], np.int64))
    prefix = "_".join(first.invariant.split("_")[:2])
    if prefix not in ("walkers_take", "walkers_read"):
        return ""
    seen = [
        walker
        for walker in walkers_now(x)
        if (walker.takes if prefix == "walkers_take" else walker.reads)(x)[starts].any()
    ]
    return "Walkers: " + ", ".join(f"{walker.name}() in {walker.file}" for walker in seen)


def command(trace: Trace, path: str | None) -> list[Text]:
    """How to replay it. A long path goes on behind a backslash, as a shell reads it."""
    if path is None:
        return []
    start = shlex.join(["hotplug-model", "replay", *replay_options(trace)]) + " "
    whole = start + shlex.quote(path)
    if len(whole) <= WIDTH:
        return [line("replay it with:"), line(whole, "bold")]
    if len(whole) > 6 * WIDTH:
        directory, path = os.path.split(path)
        return [line(f"in {directory[-80:]}:"), *command(trace, path)]
    size = WIDTH - 10
    parts = [shlex.quote(path[i : i + size]) for i in range(0, len(path), size)]
    pieces = [start, *parts]
    lines = [line(piece + "\\", "bold") for piece in pieces[:-1]] + [line(pieces[-1], "bold")]
    return [line("replay it with:"), *lines]
