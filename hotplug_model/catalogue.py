"""What there is, as Markdown tables that are built from the registries.

``hotplug-model list KIND --markdown`` prints one; ``python -m hotplug_model.catalogue FILE``
renews those that stand between ``<!-- begin KIND -->`` and ``<!-- end KIND -->``, and a
report of the section collision, ``KIND`` being ``report``.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from errno import errorcode
from functools import cache, partial
from inspect import cleandoc
from itertools import groupby
from pathlib import Path

from hotplug_model.affected import ASKED, DISAGREEMENTS, Affected, affected
from hotplug_model.architectures import ARCHITECTURES, CLASSES
from hotplug_model.architectures import ROWS as ROWS_BY_CLASS
from hotplug_model.audit import compare
from hotplug_model.audit_markdown import series_table
from hotplug_model.boot import LAYOUTS, every_layout
from hotplug_model.changes import CHANGES, RELEASES, Change, KernelVariant
from hotplug_model.defects import DEFECTS
from hotplug_model.errors import UserError
from hotplug_model.families import FAMILIES, REGRESSIONS, family
from hotplug_model.fates import EVERYWHERE, FATES, GONE
from hotplug_model.geometry import GEOMETRIES, Geometry
from hotplug_model.invariants import INVARIANTS, SOMETIMES, Invariant
from hotplug_model.kept import kept
from hotplug_model.markdown import Row, Table, code, markdown
from hotplug_model.mutants.kinds import KINDS
from hotplug_model.mutants.source import mutants
from hotplug_model.ops import OPS, Op
from hotplug_model.ops.memremap import MemremapPages
from hotplug_model.pfn import PfnRange
from hotplug_model.recorded.incomparable import INCOMPARABLE
from hotplug_model.registry import unknown
from hotplug_model.report.counterexample import page
from hotplug_model.trace import Trace, broken, replay
from hotplug_model.trace_file import file_name
from hotplug_model.walkers import READERS, WALKERS, Walker
from hotplug_model.zoo import PARTS, ROWS

REGION = re.compile(r"<!-- begin ([\w-]+) -->\n.*?<!-- end \1 -->", re.DOTALL)


def renewed(text: str) -> str:
    """*text* with everything between markers as it is now; refuses unknown markers."""

    def region(found: re.Match[str]) -> str:
        kind = found[1]
        if kind not in REGIONS:
            raise UserError(unknown("marker", kind, REGIONS))
        return f"<!-- begin {kind} -->\n\n{REGIONS[kind]()}\n<!-- end {kind} -->"

    return REGION.sub(region, text)


# What docstrings say


def first_line(documented: object) -> str:
    """First line of a docstring."""
    return cleandoc(documented.__doc__ or "").partition("\n")[0]


def source_of(documented: object) -> str:
    """What a docstring names as its source."""
    return " ".join((documented.__doc__ or "").partition("Source:")[2].split())


def kernel_source(op: type[Op]) -> str:
    """The kernel functions that an operation stands for: its own or its transition's."""
    own = source_of(op.steps)
    see = re.search(r":func:`([\w.]+)\.(\w+)`", op.steps.__doc__ or "")
    if own or see is None:
        return own
    return source_of(getattr(importlib.import_module(see[1]), see[2]))


def asked(invariant: Invariant) -> str:
    """When an invariant is evaluated."""
    if invariant.across is not None:
        return "across an operation"
    return "between operations" if invariant.quiescent else "at every milestone"


def since(change: Change) -> str:
    """The first release that has a commit, or does no more what others do."""
    if not change.since:
        return "not mended" if change.hides else "never shipped"
    return f"v{change.since[0]}.{change.since[1]}"


def lacks(release: str) -> Row:
    """Names of the commits that a release lacks."""
    return tuple(change.name for change in KernelVariant.named(release, ()).undone)


# The tables


def ops() -> Table:
    """Operations."""
    rows = [(code(n), first_line(op), kernel_source(op)) for n, op in OPS.items()]
    return Table(heading=("operation", "what it asks for", "kernel source"), rows=rows)


def walkers() -> Table:
    """Walkers, by kernel source file."""
    items = sorted(every_walker(), key=lambda item: item[1].file)
    rows = [
        (code(w.file), code(f"{n}()"), w.believes, w.holds.value, w.doc) for n, w in items
    ]
    heading = ("kernel source", "walker", "takes what it accepts for", "holds", "what it does")
    return Table(heading=heading, rows=rows)


def every_walker() -> list[tuple[str, Walker]]:
    """Walkers that look at one instant, that take time, or both."""
    return list({**dict(WALKERS.items()), **dict(READERS.items())}.items())


def invariants() -> Table:
    """Invariants."""
    rows = [(code(n), asked(i), i.message, i.source) for n, i in INVARIANTS.items()]
    return Table(heading=("invariant", "asked", "violated when", "kernel source"), rows=rows)


def changes() -> Table:
    """Changes."""
    rows = [(code(n), since(c), c.subject, c.doc) for n, c in CHANGES.items()]
    heading = ("change", "in", "subject", "the kernel without the commit, or with the proposal")
    return Table(heading=heading, rows=rows)


def releases() -> Table:
    """Releases that lack the same commits share a row."""
    rows = []
    for missing, names in groupby(RELEASES, key=lacks):
        first, *rest = list(names)
        span = f"{first} to {rest[-1]}" if rest else first
        rows.append((span, ", ".join(map(code, missing)) or "nothing"))
    return Table(heading=("release", "mainline without"), rows=rows)


def geometries() -> Table:
    """Geometries."""
    names = ("geometry", "vmemmap as on", "page", "subsection", "section", "struct page")
    heading = (*names, "physical bits")
    return Table(heading=heading, rows=[sizes(n, g) for n, g in GEOMETRIES.items()])


def sizes(name: str, geometry: Geometry) -> Row:
    """One geometry."""
    page, struct_page = geometry.page_bytes, geometry.struct_page_bytes
    in_bytes = (page, geometry.pages_per_subsection * page, geometry.pages_per_section * page)
    bits = str(geometry.max_physmem_bits)
    return (code(name), geometry.arch, *map(amount, in_bytes), f"{struct_page} B", bits)


def amount(size: int) -> str:
    """Bytes, for people."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size} {unit}"
        size //= 1024
    return f"{size} GiB"


def architectures() -> Table:
    """Architectures: what becomes of memory on each."""
    names = ARCHITECTURES.names()
    rows = [
        (CLASSES[row.memory], row.operation, *(row.outcome(name) for name in names))
        for row in ROWS_BY_CLASS
    ]
    return Table(heading=("memory", "operation", *names), rows=rows)


def boots() -> Table:
    """Boot layouts."""
    rows = [(code(n), first_line(make)) for n, make in every_layout()]
    return Table(heading=("boot layout", "what it is"), rows=rows)


def defects() -> Table:
    """Known defects of mainline."""
    return mainline_does("defect", accepted=False)


def accepted() -> Table:
    """Races that the kernel accepts."""
    return mainline_does("race", accepted=True)


def mainline_does(noun: str, accepted: bool) -> Table:
    """What mainline gets wrong, or accepts."""
    rows = [
        (
            code(n), first_line(d.rows) + gone(d.undone), ", ".join(map(code, d.invariants)),
            source_of(d.rows),
        )
        for n, d in DEFECTS.items()
        if d.accepted == accepted
    ]  # fmt: skip
    return Table(heading=(noun, "what happens", "violates", "kernel source"), rows=rows)


def gone(changes: tuple[str, ...]) -> str:
    """Which changes ended a defect, if any did."""
    return f" Gone with {', '.join(map(code, changes))}." if changes else ""


def sometimes() -> Table:
    """States that a check must reach."""
    rows = [(code(n), first_line(reach)) for n, reach in SOMETIMES.items()]
    return Table(heading=("state", "reached when"), rows=rows)


def fates() -> Table:
    """How failed allocations end."""
    rows = []
    endings = [fate for fate in FATES if not fate.defect]
    for fate in endings:
        left = [each.defect for each in FATES if each[:3] == fate[:3] and each.defect]
        where = {GEOMETRIES[name].arch: None for name in FATES[fate]}
        everywhere = len(where) == len({GEOMETRIES[name].arch for name in (*EVERYWHERE, *GONE)})
        rows.append((
            code(fate.operation), code(fate.allocation.value),
            "everywhere" if everywhere else ", ".join(where),
            f"-{errorcode[fate.err]}" if fate.err else "success",
            ", ".join(map(code, left)) or "nothing",
        ))  # fmt: skip
    heading = ("operation", "allocation", "where", "ends in", "leaves behind")
    return Table(heading=heading, rows=rows)


def incomparable() -> Table:
    """What recordings hold and nothing is compared with."""
    rows = [(code(n), why) for n, why in INCOMPARABLE.items()]
    return Table(heading=("not compared", "why"), rows=rows)


def zoo() -> Table:
    """Historical bugs, and how the model expresses them."""
    rows = [
        (str(r.number), ", ".join(map(code, r.changes)) or f"lacks {PARTS[r.lacks]}", r.bug)
        for r in ROWS
    ]
    return Table(heading=("row", "expressed by", "what the faulty code does"), rows=rows)


def kills() -> Table:
    """Which changes each invariant notices, alone and beside others."""
    rows = []
    for name in INVARIANTS.names():
        noticed = [change for change in CHANGES if name in change.breaks]
        alone = ", ".join(code(c.name) for c in noticed if len(c.breaks) == 1)
        beside = ", ".join(code(c.name) for c in noticed if len(c.breaks) > 1)
        rows.append((
            code(name), alone or "nothing", beside or "nothing",
            kept(name) or "what it notices alone",
        ))  # fmt: skip
    heading = ("invariant", "alone notices", "notices beside others", "kept for")
    return Table(heading=heading, rows=rows)


def mistakes() -> Table:
    """Kinds of mutants."""
    nr = Counter(mutant.kind for mutant in mutants())
    rows = [(code(n), str(nr[n]), first_line(kind)) for n, kind in KINDS.items()]
    return Table(heading=("kind", "mutants", "the mistake"), rows=rows)


def affected_table(found: Sequence[Affected]) -> Table:
    """Bugs and releases."""
    rows = [
        (code(each.change.name), *("x" if name in each.releases else "" for name in ASKED),
         remark(each.change))
        for each in found
    ]  # fmt: skip
    return Table(heading=("change", *ASKED, "fixed in"), rows=rows)


def remark(change: Change) -> str:
    """When a bug was fixed, and on which releases its history says otherwise."""
    releases, why = DISAGREEMENTS.get(change.name, ((), ""))
    span = " to ".join(dict.fromkeys((*releases[:1], *releases[-1:])))
    return f"{since(change)}; except {span}: {why}" if why else since(change)


TABLES: dict[str, Callable[[], Table]] = {
    make.__name__: make
    for make in (
        ops, walkers, invariants, changes, releases, geometries, architectures, boots, defects,
        accepted, sometimes, incomparable, fates, zoo, kills, mistakes,
    )
}  # fmt: skip


# An example of a report


def report() -> str:
    """What ``check --change 1f90a3477df3`` prints about the section collision."""
    trace = collision()
    lines = page(trace, f"hotplug-traces/{file_name(trace)}")
    return "\n".join(["```text", *(str(line).rstrip() for line in lines), "```", ""])


def collision() -> Trace:
    """A device mapped into the hole of an online section, before v5.12."""
    geometry = GEOMETRIES["tiny"]
    boot = LAYOUTS["collision"](geometry)
    hole = boot.ram[-1][0].end_pfn
    device = PfnRange(hole, hole + geometry.pages_per_subsection)
    events = (MemremapPages(0, (device,), "generic", 0, ()),)
    trace = Trace(geometry="tiny", boot=boot, changes=("1f90a3477df3",), events=events)
    violations = replay(trace)[1]
    title = f"{trace.variant()}: {violations[0].message}"
    return replace(trace, violates=broken(violations), title=title)


def table(make: Callable[[], Table]) -> Callable[[], str]:
    """*make* as text."""
    return lambda: markdown(make())


@cache
def affected_releases() -> str:
    """Which release has which bug: what the regressions of this checkout show."""
    files = sorted(REGRESSIONS.glob("*.json"))
    traces = [Trace.loads(path.read_text(encoding="utf-8")) for path in files]
    return markdown(affected_table(list(affected(traces))))


def audit() -> str:
    """What each way to apply seed 000 makes wrong, on mainline."""
    return markdown(series_table(compare(None)[1]))


REGIONS: dict[str, Callable[[], str]] = {
    "audit": audit,
    "affected": affected_releases,
    **{name: partial(family, name) for name in FAMILIES},
    **{kind: table(make) for kind, make in TABLES.items()},
    "report": report,
}
"""What may stand between markers."""


def main(argv: list[str]) -> int:
    """Renew the tables in files."""
    parser = argparse.ArgumentParser(prog="python -m hotplug_model.catalogue")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    for path in parser.parse_args(argv).files:
        try:
            path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
        except (OSError, UnicodeError) as error:
            parser.error(f"{path}: {getattr(error, 'strerror', None) or error}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
