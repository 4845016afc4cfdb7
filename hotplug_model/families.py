"""Bugs that belong together: fixes that broke something, or that took a second one.

Their kept traces one below the other, each drawn on mainline without its fix.
"""

from __future__ import annotations

from pathlib import Path

from hotplug_model.report.counterexample import machine, steps
from hotplug_model.report.story import tell
from hotplug_model.trace import Trace
from hotplug_model.zoo import ROWS

REGRESSIONS = Path(__file__).parent.parent / "regressions"
"""Where the traces are; only a checkout has them."""
FAMILIES: dict[str, tuple[str, ...]] = {
    "family-online": ("hole-in-an-early-section", "collision", "seed001-taint-only"),
    "family-sections": (
        "memmap-looked-up-too-late", "early-memmap-freed-in-part", "usage-of-a-readded-section",
    ),
    "family-unused": (
        "unpopulated-part-never-marked", "unpopulated-part-marked-elsewhere",
        "marker-before-the-sync",
    ),
}  # fmt: skip
"""What may stand between markers -> files of traces, in the order of the story."""


def family(name: str) -> str:
    """The traces of one family, as Markdown."""
    return "\n".join(map(member, FAMILIES[name]))


def member(file: str) -> str:
    """One trace: what went wrong, and how it looks."""
    trace = Trace.loads((REGRESSIONS / f"{file}.json").read_text(encoding="utf-8"))
    name = trace.changes[-1]
    rows = [f"row {row.number}" for row in ROWS if name in row.changes]
    where = ", ".join([f"`{name}`", *rows, f"[{file}.json](../regressions/{file}.json)"])
    story = tell(trace, trace.variant(), 8, 8)
    drawn = [*machine(story), *steps(story, 8, 8)]
    lines = [str(each).rstrip() for each in drawn]
    breaks = "\n".join(f"violated: {invariant}" for invariant in trace.violates)
    return "\n".join([
        f"**{trace.title}** ({where}).", trace.postmortem, "", "```text", *lines, breaks, "```", "",
    ])  # fmt: skip
