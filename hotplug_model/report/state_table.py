"""The state around a violation, as a table: one row a range on which nothing changes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from rich.text import Text

from hotplug_model.extents import Extents
from hotplug_model.flags import BlockState, MemmapOrigin, PageContent, SectionFlag, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange
from hotplug_model.report.lines import line
from hotplug_model.report.strip import rows_in

LETTERS = {
    "P": SectionFlag.MARKED_PRESENT,
    "M": SectionFlag.HAS_MEM_MAP,
    "O": SectionFlag.IS_ONLINE,
    "E": SectionFlag.IS_EARLY,
    "T": SectionFlag.TAINT_ZONE_DEVICE,
}
LEGEND = (
    "sect: P present, M memmap, O online, E early, T taint; sub: subsection bit; "
    "last: pfn_to_online_page"
)
ASTRAY, ASTRAY_LEGEND = "a", "a says that it has a memmap, but not where"
HEADER = ("pfns", "sect", "sub", "struct page", "zone", "refs", "pgmap", "block", "online page?")
MIN_WIDTHS = (20, 5, 3, 13, 9, 4, 5, 13, 0)


def header() -> Text:
    """The column titles."""
    return line("    " + _spread(HEADER), "bold")


def legend(kernel: Kernel, marked: tuple[PfnRange, ...]) -> str:
    """What the letters mean; that of an encoded memmap only where one leads astray."""
    x = kernel.extents()
    astray = (x.touched(marked) & x.section_has(SectionFlag.ASTRAY)).any()
    return LEGEND.replace(", O", f", {ASTRAY_LEGEND}, O") if astray else LEGEND


def table(kernel: Kernel, marked: tuple[PfnRange, ...], most: int) -> list[Text]:
    """Rows of the sections that hold *marked*, at most *most*; marked ones get a ``>``."""
    x = kernel.extents()
    rows = [
        (touches(pfns, marked), "  " + ("> " if touches(pfns, marked) else "  ") + text)
        for pfns, text in joined(x, focus(kernel, marked))
    ]
    # A line that says "1 more row" would take the place of that row.
    keep = nearest([hit for hit, _ in rows], most + (len(rows) == most + 1))
    drawn = [line(text, "bold" if hit else "") for hit, text in (rows[i] for i in keep)]
    if len(keep) < len(rows):
        drawn.append(line(f"      ... {len(rows) - len(keep)} more rows"))
    return drawn


def focus(kernel: Kernel, marked: tuple[PfnRange, ...]) -> list[PfnRange]:
    """The sections of the first and last page of each marked range, and all between."""
    geometry = kernel.geometry
    found = []
    for pfns in marked[:8]:
        sections = geometry.sections_of(pfns)
        if sections:
            first, last = geometry.section_pfns(sections[0]), geometry.section_pfns(sections[-1])
            found.append(PfnRange(first.start_pfn, last.end_pfn))
    return disjoint(found)


def disjoint(ranges: list[PfnRange]) -> list[PfnRange]:
    """*ranges* in order, those that overlap or touch made one."""
    merged: list[PfnRange] = []
    for pfns in sorted(ranges):
        if merged and pfns.start_pfn <= merged[-1].end_pfn:
            start, end = merged[-1].start_pfn, merged[-1].end_pfn
            merged[-1] = PfnRange(start, max(end, pfns.end_pfn))
        else:
            merged.append(pfns)
    return merged


def joined(x: Extents, ranges: list[PfnRange]) -> list[tuple[PfnRange, str]]:
    """Rows that hold some of *ranges*; neighbours that look alike are one."""
    found = []
    for hull in ranges:
        rows = rows_in(x, hull)
        indices = range(rows.start, rows.stop)
        for words, group in groupby(indices, key=lambda row: describe(x, row)):
            members = list(group)
            first, last = int(x.start_pfn[members[0]]), int(x.end_pfn[members[-1]])
            pfns = PfnRange(first, last).intersection(hull)
            found.append((pfns, _spread((str(pfns), *words))))
    return found


def describe(x: Extents, row: int) -> tuple[str, ...]:
    """What one row says, without its pfns."""
    flags = int(x.section_flags[row])
    content = PageContent(int(x.content[row]))
    known = content in (PageContent.INITIALISED, PageContent.STALE)
    zone = ZoneType(int(x.zone[row])).label if int(x.zone[row]) in set(ZoneType) else "?"
    node = f"{zone}/{int(x.nid[row])}" if known else "-"
    unmapped = x.memmap[row] == MemmapOrigin.NONE
    pgmap = int(x.pgmap_array[row])
    block = BlockState(int(x.block[row]))
    letters = "".join(letter if flags & bit else "-" for letter, bit in LETTERS.items())
    return (
        letters[0] + ASTRAY + letters[2:] if flags & SectionFlag.ASTRAY else letters,
        "y" if x.subsection[row] else "n",
        "not mapped" if unmapped else content.name.lower(),
        node,
        str(int(x.refcount[row])) if known else "-",
        str(pgmap) if pgmap >= 0 else "-",
        block.name.removeprefix("MEM_").lower() if block else "-",
        "yes" if x.online_page[row] else "no",
    )


def nearest(hits: list[bool], most: int) -> list[int]:
    """Indices of at most *most* rows: hits, then whatever lies closest to one."""
    at = [i for i, hit in enumerate(hits) if hit] or [0]
    order = sorted(range(len(hits)), key=lambda i: (min(abs(i - hit) for hit in at[:64]), i))
    return sorted(order[: max(0, most)])


def touches(pfns: PfnRange, marked: Iterable[PfnRange]) -> bool:
    """Whether some of *marked* is in *pfns*."""
    return any(pfns.overlaps(each) for each in marked)


def _spread(words: tuple[str, ...]) -> str:
    return " ".join(w.ljust(width) for w, width in zip(words, MIN_WIDTHS, strict=True)).rstrip()
