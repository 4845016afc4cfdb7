"""What bounded liveness has found: the ways back to the state after boot."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from hotplug_model.explore.residues import RESIDUES
from hotplug_model.explore.way_back import Stuck, WaysBack
from hotplug_model.report.lines import line, paragraph

MAX_STUCK = 8
"""Kinds of states without a way back that are drawn."""


def ways_back(ways: WaysBack) -> list[Text]:
    """From how many states there is a way, what it leaves, and what has none."""
    stuck = sorted(ways.stuck.values(), key=lambda each: (each.way.explained, -each.nr_states))
    back = ways.nr_states - sum(each.nr_states for each in stuck)
    lines = [
        line(
            f"  way back: from {back} of {ways.nr_states} states, "
            f"the longest takes {ways.longest} of {ways.limit} operations",
            "bold red" if ways.unexplained else "bold",
        )
    ]
    for name, nr in ways.residues.most_common():
        residue = RESIDUES[name]
        lines += paragraph(f"{nr} keep the {name}: {residue.doc} {residue.source}", "    ", 2)
    for each in stuck[:MAX_STUCK]:
        lines += paragraph(f"{each.nr_states} do not come back: {why(each)}", "    ", 6)
    if len(stuck) > MAX_STUCK:
        lines.append(line(f"    ... {len(stuck) - MAX_STUCK} more kinds"))
    return lines


def why(stuck: Stuck) -> str:
    """What is left and whose fault that is; e.g. after which operations."""
    way = stuck.way
    lost = ", ".join(way.lost) if way.defects and way.lost else "it"
    fault = f"no known defect of mainline accounts for {lost}"
    fault = ", ".join(way.defects) if way.explained else fault
    left = ", ".join(way.left) or "nothing is left, but it takes too long"
    back = f", {len(way.ops)} operations back" if way.ops else ""
    after = "; ".join(map(str, stuck.machine.events)) or "boot"
    return f"{left} ({fault}); e.g. after {after}{back}"


def ways_json(ways: WaysBack) -> dict[str, Any]:
    """The same for programs."""
    return {
        "limit": ways.limit,
        "states": ways.nr_states,
        "longest": ways.longest,
        "residues": dict(ways.residues.most_common()),
        "stuck": [
            {
                "states": each.nr_states,
                "left": list(each.way.left),
                "known_defects": list(each.way.defects),
                "explained": each.way.explained,
                "unexplained": list(each.way.lost),
                "events": list(map(str, each.machine.events)),
                "back": list(map(str, each.way.ops)),
            }
            for each in ways.stuck.values()
        ],
    }
