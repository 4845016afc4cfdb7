"""What a check has done, in a few lines, and in JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.text import Text

from hotplug_model.certify import MINIMAL
from hotplug_model.checker import Violation
from hotplug_model.coverage import Coverage
from hotplug_model.defects import DEFECTS
from hotplug_model.fates import known_pairs
from hotplug_model.floor import measure, share_text
from hotplug_model.invariants import SOMETIMES
from hotplug_model.ops import drawn_ops
from hotplug_model.reachable import nr_possible_pairs
from hotplug_model.report.lines import line, paragraph
from hotplug_model.trace import Trace
from hotplug_model.verdict import Report, Result
from hotplug_model.words import counted

MAX_DEFECTS = 4
"""Known defects that are listed when a counterexample needs the room."""


def verdict(report: Report) -> Text:
    """The result in a line."""
    request, coverage = report.request, report.coverage
    words, style = headline(report)
    return line(
        f"{words}: {request.variant} at {request.geometry}: "
        f"{counted(coverage.examples, 'example')}, {counted(coverage.steps, 'step')}, "
        f"{report.seconds:.1f} s, seed {request.seed}",
        style,
    )


def headline(result: Result) -> tuple[str, str]:
    """The verdict in capitals, and its style."""
    style = {"held": "bold green", "violated": "bold red"}.get(result.verdict, "bold yellow")
    return result.verdict.upper() + (" (interrupted)" if result.interrupted else ""), style


def why_no_verdict(result: Result) -> list[Text]:
    """What was in the way of one."""
    if result.flaky:
        return [line(f"  flaky: {result.flaky}"), line("  please report this as a bug")]
    return [line(f"  stopped: {result.stopped}")] if result.stopped else []


def minimal(trace: Trace) -> Text:
    """How short the counterexample is, and how far a shorter one was looked for."""
    nr = len(trace.events)
    return line(f"  {counted(nr, 'step')}, {trace.found[MINIMAL]}")


def known_defects(known: Counter[str], most: int | None = None) -> list[Text]:
    """Known defects of mainline that showed; they do not count."""
    met = known.most_common(most)
    lines = [
        line(
            f"  {'accepted race' if DEFECTS[name].accepted else 'known defect'} {name} "
            f"({times} times): {DEFECTS[name].doc.partition(chr(10))[0]}"
        )
        for name, times in met
    ]
    if len(known) > len(met):
        lines.append(line(f"  ... {len(known) - len(met)} more known defects"))
    return lines


def coverage_table(report: Report) -> list[Text]:
    """What was tried: a row an operation, then how much of what there is was seen."""
    coverage = report.coverage
    width = max(map(len, drawn_ops()))
    rows = [line(f"  {'operation':<{width}} {'drawn':>7} {'ok':>7}  refused", "bold")]
    together = ["interleave"] if report.request.races else []
    for name in [*drawn_ops(), *together]:
        counts = coverage.outcomes.get(name, Counter())
        refused = [f"{err} {n}" for err, n in sorted(counts.items()) if err != "ok"]
        drawn = sum(counts.values())
        rows.append(line(f"  {name:<{width}} {drawn:>7} {counts['ok']:>7}  {', '.join(refused)}"))
    return [*rows, *seen(report), *missing(coverage), *below_the_floor(report)]


def seen(report: Report) -> list[Text]:
    """How much was seen of what there is, and how much there may be beyond."""
    found = measure(report.coverage)
    effective = found.pop("effective")
    shares = ", ".join(f"{each.seen} of {each.of} {name}" for name, each in found.items())
    states = report.coverage.states
    about = "about " if states.halvings else ""
    return [
        line(f"  {share_text(effective)} steps changed something or were refused"),
        *paragraph(f"seen: {shares}", "  ", 2),
        line(
            f"  {about}{states.distinct} distinct states; one that the next example comes to is "
            f"new with a chance of {states.unseen:.3f}"
        ),
    ]


def below_the_floor(report: Report) -> list[Text]:
    """What the profile asks for and the run did not see."""
    return [
        part for text in report.missed for part in paragraph(f"below the floor: {text}", "  ", 20)
    ]


def failed_allocations(report: Report) -> list[Text]:
    """Which allocations of which operations failed, of those that are known to be made."""
    if not report.request.faults:
        return []
    known = known_pairs(report.request.geometry)
    missed = sorted(known - report.coverage.failed_pairs())
    reached = f"{len(known) - len(missed)} of {len(known)} failing allocations reached"
    names = ", ".join(f"{allocation} of {name}" for name, allocation in missed)
    return paragraph(f"{reached}{'; never ' if names else ''}{names}", "  ", 4)


def pairs(coverage: Coverage) -> str:
    """Pairs of operations and states reached, in a line."""
    reached = len(SOMETIMES) - len(coverage.missing())
    return (
        f"{len(coverage.pairs)} of {nr_possible_pairs()} pairs of operations seen; "
        f"{reached} of {len(SOMETIMES)} sometimes properties reached"
    )


def missing(coverage: Coverage) -> list[Text]:
    """Sometimes properties that were never true."""
    names = coverage.missing()
    return paragraph(f"never reached: {', '.join(names)}", "  ", 2 + len(names)) if names else []


def to_json(report: Report, path: str | None) -> dict[str, Any]:
    """The result as plain JSON; *path* is where the trace was written."""
    request, coverage = report.request, report.coverage
    return {
        "verdict": report.verdict,
        "violations": violations_json(report.violations, path),
        "minimal": None if report.trace is None else report.trace.found[MINIMAL],
        "known_defects": known_json(coverage.known),
        "examples": coverage.examples,
        "steps": coverage.steps,
        "seconds": round(report.seconds, 3),
        "coverage": coverage.to_json() | {"measured": measured(coverage)},
        "below_the_floor": report.missed,
        "variant": str(request.variant),
        "geometry": request.geometry,
        "seed": request.seed,
        "flaky": report.flaky,
        "stopped": report.stopped,
        "interrupted": report.interrupted,
    }


def measured(coverage: Coverage) -> dict[str, Any]:
    """How much of what there is was seen, and what was not."""
    return {
        name: {"seen": each.seen, "of": each.of, "missed": list(each.missed)}
        for name, each in measure(coverage).items()
    }


def violations_json(violations: list[Violation], path: str | None) -> list[dict[str, Any]]:
    """What was violated; *path* is where the trace was written."""
    return [
        {
            "invariant": v.invariant,
            "pfns": [[pfns.start_pfn, pfns.end_pfn] for pfns in v.pfns],
            "message": v.message,
            "source": v.source,
            "milestone": v.milestone,
            "trace": path,
        }
        for v in violations
    ]


def known_json(known: Counter[str]) -> list[dict[str, Any]]:
    """Known defects of mainline, and how often they showed."""
    return [{"name": name, "times": nr} for name, nr in sorted(known.items())]
