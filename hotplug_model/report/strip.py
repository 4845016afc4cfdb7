"""The machine in one line: a glyph a section, or more where a section is mixed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from rich.text import Text

from hotplug_model.extents import Extents
from hotplug_model.flags import PageContent, SectionFlag
from hotplug_model.geometry import Geometry
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange

ABSENT, ONLINE, OFFLINE, HOLE, DEVICE, LEFT, MIXED = ".", "R", "o", "h", "D", "d", "*"
LEGEND = {
    ABSENT: "absent",
    ONLINE: "online RAM",
    OFFLINE: "added, offline",
    HOLE: "boot hole",
    DEVICE: "ZONE_DEVICE",
    LEFT: "stale, poisoned or uninitialised",
    MIXED: "mixed",
}
STYLES = {ONLINE: "green", OFFLINE: "cyan", HOLE: "yellow", DEVICE: "magenta", LEFT: "red"}
MAX_CELLS = 8
"""Glyphs that one section may take."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A glyph's place in the strip."""

    column: int
    pfns: PfnRange


@dataclass(frozen=True, slots=True)
class Strip:
    """Which sections are shown, and where; the same for every step of a trace."""

    cells: tuple[Cell, ...]
    header: str
    """Section numbers, above their glyphs."""
    nr_hidden: int
    """Sections in use for which there was no room."""

    @property
    def width(self) -> int:
        """Columns that a strip takes."""
        return len(self.header)

    def draw(self, kernel: Kernel) -> str:
        """One glyph a cell."""
        x = kernel.extents()
        every = glyphs(x)
        row = [" "] * self.width
        for cell in self.cells:
            rows = rows_in(x, cell.pfns)
            found = set(every[rows])
            row[cell.column] = found.pop() if len(found) == 1 else MIXED
        return "".join(row)

    def carets(self, ranges: Iterable[PfnRange]) -> str:
        """A caret below every cell that holds some of *ranges*."""
        row = [" "] * self.width
        wanted = list(ranges)
        for cell in self.cells:
            if any(cell.pfns.overlaps(pfns) for pfns in wanted):
                row[cell.column] = "^"
        return "".join(row)


def glyphs(x: Extents) -> list[str]:
    """One glyph a row of the extents."""
    early = x.section_has(SectionFlag.IS_EARLY)
    zeroed_hole = early & (x.content == PageContent.ZEROED)
    conditions = [
        (ABSENT, ~x.subsection & ~x.mapped),
        (DEVICE, x.subsection & x.is_zone_device),
        (HOLE, x.is_boot_hole | zeroed_hole),
        (ONLINE, x.is_online_ram),
        (OFFLINE, x.subsection & ~x.section_has_online & (x.pgmap_array < 0)),
    ]
    names = np.array([glyph for glyph, _ in conditions] + [LEFT])
    which = np.select([rows for _, rows in conditions], range(len(conditions)), len(conditions))
    return list(map(str, names[which]))


def rows_in(x: Extents, pfns: PfnRange) -> slice:
    """Rows that hold some of *pfns*."""
    first = x.row_at(pfns.start_pfn)
    return slice(first, int(x.start_pfn.searchsorted(pfns.end_pfn, "left")))


def legend(strips: Iterable[str]) -> str:
    """What the glyphs that occur in *strips* mean."""
    used = set("".join(strips))
    return "  ".join(f"{glyph} {meaning}" for glyph, meaning in LEGEND.items() if glyph in used)


def coloured(strip: str) -> Text:
    """A strip in colours."""
    text = Text()
    for glyph in strip:
        text.append(glyph, STYLES.get(glyph, ""))
    return text


def layout(geometry: Geometry, kernels: list[Kernel], wanted: list[PfnRange], width: int) -> Strip:
    """Room for every section in use in *kernels*; those of *wanted* come first."""
    views = [(kernel.extents(), glyphs(kernel.extents())) for kernel in kernels]
    used = {nr for x, marks in views for nr in used_sections(geometry, x, marks)}
    ends = [nr for pfns in wanted for nr in ends_of(geometry.sections_of(pfns))]
    chosen: dict[int, list[PfnRange]] = {}
    for nr in dict.fromkeys([*ends, *sorted(used)]):
        taken = sum(columns(*each) + 1 for each in chosen.items())
        if taken >= width:
            break
        cells = cells_of(geometry, nr, views)
        if taken + columns(nr, cells) <= width:
            chosen[nr] = cells
    placed, header = [], ""
    for nr, cells in sorted(chosen.items()):
        placed += [Cell(len(header) + i, pfns) for i, pfns in enumerate(cells)]
        header += str(nr).ljust(columns(nr, cells)) + " "
    return Strip(
        tuple(placed), header.rstrip(" ").ljust(last_column(placed)), len(used - chosen.keys())
    )


def last_column(cells: list[Cell]) -> int:
    """Columns up to the last cell."""
    return cells[-1].column + 1 if cells else 0


def columns(nr: int, cells: list[PfnRange]) -> int:
    """Columns that a section takes: its number stands above it."""
    return max(len(str(nr)), len(cells))


def ends_of(sections: range) -> tuple[int, ...]:
    """The first and the last: what lies between them is usually alike."""
    return (sections[0], sections[-1]) if sections else ()


def used_sections(geometry: Geometry, x: Extents, marks: list[str]) -> set[int]:
    """Sections that are not wholly absent, at the most some hundred."""
    used: set[int] = set()
    for start, end, mark in zip(x.start_pfn.tolist(), x.end_pfn.tolist(), marks, strict=True):
        if mark != ABSENT:
            used.update(geometry.sections_of(PfnRange(start, end))[:64])
    return used


def cells_of(
    geometry: Geometry, section_nr: int, views: list[tuple[Extents, list[str]]]
) -> list[PfnRange]:
    """A section cut wherever a glyph changes in one of *views*; whole if that is too often."""
    section = geometry.section_pfns(section_nr)
    cuts = {section.start_pfn, section.end_pfn}
    for x, marks in views:
        rows = rows_in(x, section)
        starts = x.start_pfn[rows].tolist()
        inside = marks[rows]
        cuts |= {s for s, a, b in zip(starts[1:], inside, inside[1:], strict=False) if a != b}
    size = geometry.pages_per_subsection
    if len(cuts) > 2 and geometry.subsections_per_section <= MAX_CELLS:
        cuts |= set(range(section.start_pfn, section.end_pfn, size))
    if len(cuts) > MAX_CELLS + 1:
        return [section]
    ordered = sorted(cuts)
    return [PfnRange(a, b) for a, b in pairwise(ordered)]
