"""What an exhaustive search has proven, in a few lines, and in JSON."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from hotplug_model.explore.explored import Explored, minimal_of
from hotplug_model.explore.space import Space
from hotplug_model.report.lines import line, paragraph
from hotplug_model.report.summary import headline, known_json, violations_json, why_no_verdict
from hotplug_model.report.ways_back import ways_json
from hotplug_model.words import counted


def verdict(explored: Explored) -> list[Text]:
    """The result, and what exactly it holds for."""
    space, (words, style) = explored.exploration.space, headline(explored)
    machine = space.machines[0]
    return [
        line(
            f"{words}: {machine.variant()} at {machine.geometry}: {proven(explored)}, "
            f"{explored.seconds:.1f} s",
            style,
        ),
        line(f"  {counts(explored)}"),
        *paragraph(tried(space), "  ", 6),
        *why_no_verdict(explored),
        *([line(f"  checkpoint: {unusable(explored.cut)}")] if explored.cut else []),
    ]


def proven(explored: Explored) -> str:
    """How far the result reaches."""
    exploration = explored.exploration
    if explored.trace is not None:
        nr = len(explored.trace.events)
        return f"{counted(nr, 'step')}, {minimal_of(explored.trace, exploration.space)}"
    if exploration.complete:
        return "complete"
    return f"complete to depth {max(0, exploration.depth)}"


def unusable(nr_bytes: int) -> str:
    """What was dropped at the end of a checkpoint."""
    return f"its last {counted(nr_bytes, 'byte')} were no whole entry, and were cut off"


def counts(explored: Explored) -> str:
    """What was counted."""
    exploration = explored.exploration
    return (
        f"{counted(len(exploration.visited), 'state')}, "
        f"{counted(exploration.transitions, 'transition')}; "
        f"{counted(exploration.expanded, 'state')} in which everything was tried"
    )


def tried(space: Space) -> str:
    """What was tried in each state."""
    layouts = counted(len(space.machines), "boot layout")
    ops = ", ".join(space.ops) if space.ops else "every operation"
    unusual = counted(space.unusual, "unusual choice") if space.unusual else "no unusual choices"
    faults = ", and every single allocation failing" if space.faults else ""
    symmetry = "" if space.symmetry else "; numbering matters"
    return f"{layouts}: {ops}; at most {unusual} each{faults}{symmetry}"


def to_json(explored: Explored, path: str | None) -> dict[str, Any]:
    """The result as plain JSON; *path* is where the trace was written."""
    exploration = explored.exploration
    space = exploration.space
    return {
        "verdict": explored.verdict,
        "violations": violations_json(explored.violations, path),
        "shortest": None if explored.trace is None else len(explored.trace.events),
        "states": len(exploration.visited),
        "expanded": exploration.expanded,
        "transitions": exploration.transitions,
        "depth": max(0, exploration.depth),
        "complete": exploration.complete,
        "known_defects": known_json(exploration.known),
        "seconds": round(explored.seconds, 3),
        "variant": str(space.machines[0].variant()),
        "geometry": space.machines[0].geometry,
        "boot_layouts": len(space.machines),
        "ops": list(space.ops),
        "unusual": space.unusual,
        "faults": space.faults,
        "symmetry": space.symmetry,
        "flaky": explored.flaky,
        "stopped": explored.stopped,
        "interrupted": explored.interrupted,
        "back": ways_json(explored.ways) if explored.ways else None,
    }
