"""The model's vmemmap against a twin that walks a page and a byte at a time."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hotplug_model import steps
from hotplug_model.arrays import Pfns
from hotplug_model.boot import LAYOUTS, BootLayout, search_sections
from hotplug_model.flags import MappingLevel, MemmapOrigin, MemoryType, PageContent
from hotplug_model.geometry import GEOMETRIES, Geometry
from hotplug_model.kernel import Kernel
from hotplug_model.mm.add_pages import add_pages, remove_pages
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import KernelRules
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.dev_pagemap import DevPagemap
from hotplug_model.state.faults import Allocation, parse
from hotplug_model.state.ledger import Law
from hotplug_model.state.vmemmap import NOWHERE, Vmemmap, owned_before
from stateful_tests.vmemmap_twin import MARKED_ARCHES, UNUSED, Frame, Map, Twin, TwinAltmap

FAULTS = ("usage", "vmemmap_page", "vmemmap_huge", "page_table")
assert {*FAULTS} < {kind.value for kind in Allocation}


# What is done to both


@dataclass(frozen=True)
class Add:
    """add_pages(): from a subsection on, so many of them, or as many whole sections."""

    first: int
    nr: int
    whole: bool
    altmap: tuple[int, int, bool] | None
    """How much is reserved, which room of :meth:`Pair.rooms`, whether it is a block's."""
    shift: int | None
    """Which order of compound pages, of those that the range is aligned to."""
    fail: tuple[int, int] | None


@dataclass(frozen=True)
class Remove:
    """remove_pages(): what the nth add added, or any other range."""

    nth: int
    first: int
    nr: int
    whole: bool
    any_range: bool
    forget_altmap: bool


@dataclass(frozen=True)
class Initialise:
    """Somebody initialises the struct pages of the nth add."""

    nth: int


Step = Add | Remove | Initialise
small = st.integers(0, 63)
faults = st.none() | st.tuples(st.integers(0, len(FAULTS) - 1), st.integers(0, 5))
adds = st.builds(
    Add, small, st.integers(1, 9), st.booleans(),
    st.none() | st.tuples(st.integers(0, 1), st.integers(0, 5), st.booleans()),
    st.none() | st.integers(0, 5), st.one_of(st.none(), st.none(), faults),
)  # fmt: skip
removals = st.builds(
    Remove, small, small, st.integers(1, 9), st.booleans(),
    st.sampled_from([False, False, True]), st.sampled_from([False, False, False, True]),
)  # fmt: skip
initialisations = st.builds(Initialise, small)
sequences = st.lists(adds | removals | adds | removals | initialisations, max_size=14)


@dataclass
class Added:
    """An add, done or half done, as both sides know it."""

    pfns: PfnRange
    altmap: Altmap | None
    twin_altmap: TwinAltmap | None
    deduplicated: bool


class Pair:
    """The model and its twin, from boot on."""

    def __init__(self, geometry: Geometry, rules: KernelRules, layout: BootLayout) -> None:
        self.kernel = Kernel.boot(geometry, rules, layout)
        self.twin = Twin(geometry, rules, layout)
        self.geometry = geometry
        self.added: list[Added] = []
        few = geometry.pages_per_section <= 64
        sections = search_sections(geometry)[: 8 if few else 4]
        if sections[1].start_pfn != sections[0].end_pfn:
            sections = sections[1:]
        self.window = PfnRange(sections[0].start_pfn, sections[-1].end_pfn)
        self.refused: Counter[int] = Counter()

    def range_of(self, first: int, nr: int, whole: bool) -> PfnRange:
        unit = self.geometry.pages_per_section if whole else self.geometry.pages_per_subsection
        units = self.window.nr_pages // unit
        start = (units // 2 + first) % units  # first of all what boot has left free
        end = min(units, start + (nr % 4 + 1 if whole else nr))
        base = self.window.start_pfn
        return PfnRange(base + start * unit, base + end * unit)

    def step(self, step: Step) -> None:
        if isinstance(step, Add):
            self.add(step)
        elif isinstance(step, Remove):
            self.remove(step)
        elif self.added:
            self.initialise(self.added[step.nth % len(self.added)].pfns)

    def rooms(self, pfns: PfnRange) -> list[int]:
        """Room for an altmap: too little, just enough, and more."""
        nr = self.geometry.memmap_of(pfns).nr_pages
        huge = self.geometry.huge_pages
        regions = len(self.geometry.huge_regions(self.geometry.memmap_of(pfns)))
        return [0, nr - 1, nr, regions * huge, (regions + 1) * huge, pfns.nr_pages]

    def add(self, step: Add) -> None:
        pfns = self.range_of(step.first, step.nr, step.whole)
        altmap, twin_altmap = self.altmaps(step, pfns)
        pgmap, twin_map = self.maps(step, pfns)
        deduplicated = pgmap is not None and self.twin.can_optimize(twin_altmap, twin_map)
        if deduplicated and self.twin.early & set(self.geometry.sections_of(pfns)):
            return  # dax devices begin where compound pages do, boot memory does not
        spills = deduplicated and not self.kernel.rules.vmemmap_dedup_needs_an_alias
        if spills and pfns.end_pfn == self.geometry.all_pfns.end_pfn:
            return  # a page too many would lie behind all of vmemmap
        if not self.twin.vmemmap and self.cannot_be_told(pfns):
            return
        fail = step.fail and f"{FAULTS[step.fail[0]]}:{step.fail[1]}".removesuffix(":0")
        self.kernel.faults.arm(fail or None)
        self.twin.fail_at, self.twin.made = parse(fail) if fail else None, Counter()
        refusal = steps.run(add_pages(self.kernel, pfns, 0, altmap, pgmap))
        number = self.twin.add_pages(pfns.start_pfn, pfns.end_pfn, twin_altmap, twin_map)
        assert (refusal.errno if refusal else None) == number, (refusal, number)
        if number is None:
            # What an add that failed in the middle left there is nobody's any more.
            self.added = [each for each in self.added if not each.pfns.overlaps(pfns)]
        else:
            self.refused[number] += 1
        self.added.append(Added(pfns, altmap, twin_altmap, deduplicated))

    def cannot_be_told(self, pfns: PfnRange) -> bool:
        """Without SPARSEMEM_VMEMMAP whole sections come and go, and no bit says so."""
        whole = pfns.is_aligned(self.geometry.pages_per_section)
        return not whole or bool(self.kernel.pfns.within(pfns, "subsection").any())

    def altmaps(self, step: Add, pfns: PfnRange) -> tuple[Altmap | None, TwinAltmap | None]:
        if step.altmap is None:
            return None, None
        reserve, room, own = step.altmap
        free = max(0, min(self.rooms(pfns)[room], pfns.nr_pages - reserve))
        start, end = pfns.start_pfn, pfns.end_pfn
        model = Altmap(base_pfn=start, reserve=reserve, free=free, end_pfn=end, self_hosted=own)
        return model, TwinAltmap(start, reserve, free, end, own)

    def maps(self, step: Add, pfns: PfnRange) -> tuple[DevPagemap | None, Map]:
        ends = pfns.start_pfn | pfns.end_pfn
        most = (ends & -ends).bit_length() - 1
        shift = 0 if step.shift is None else max(0, most - step.shift)
        pgmap = DevPagemap(
            ranges=(pfns,), type=MemoryType.MEMORY_DEVICE_GENERIC, nid=0, vmemmap_shift=shift
        )
        return (None if step.shift is None else pgmap), Map(pfns.start_pfn, 1 << shift)

    def remove(self, step: Remove) -> None:
        pfns, known = self.range_of(step.first, step.nr, step.whole), None
        if self.added and not step.any_range:
            known = self.added[step.nth % len(self.added)]
            pfns = known.pfns
        for each in self.added:
            # Where struct pages straddle huge pages one marker, in the first of them, keeps
            # what an add has brought: it is removed as it was added, or not at all.
            whole_only = each.deduplicated or self.geometry.page_bytes % self.twin.each
            if whole_only and each.pfns.overlaps(pfns) and not pfns.contains(each.pfns):
                return
        if not self.twin.vmemmap and not pfns.is_aligned(self.geometry.pages_per_section):
            return
        altmap = None if known is None or step.forget_altmap else known.altmap
        twin_altmap = None if known is None or step.forget_altmap else known.twin_altmap
        self.kernel.faults.arm(None)
        self.twin.fail_at = None
        assert steps.run(remove_pages(self.kernel, pfns, altmap)) is None
        self.twin.remove_pages(pfns.start_pfn, pfns.end_pfn, twin_altmap)
        if known is not None:
            self.compare_altmap(known)
        self.added = [each for each in self.added if not pfns.contains(each.pfns)]

    def initialise(self, pfns: PfnRange) -> None:
        for part in self.geometry.section_chunks(pfns):
            bits = self.twin.subsections(part.start_pfn, part.end_pfn)
            if bits <= self.twin.bits:
                self.kernel.pfns.write(part, content=PageContent.INITIALISED)
                self.twin.memset(part.start_pfn * self.twin.each, part.end_pfn * self.twin.each, 1)

    @property
    def crashed(self) -> bool:
        """Whether the kernel wrote where nothing is mapped, or PTEs over struct pages."""
        corrupted = Law.MAPPED_BELOW_A_HUGE_PAGE in self.twin.laws
        return corrupted or self.twin.wild_writes > 0

    # What is compared

    def compare(self) -> None:
        kernel, twin = self.kernel, self.twin
        pages = self.geometry.memmap_of(self.window)
        regions = self.geometry.huge_regions(pages)
        pages = PfnRange(regions[0].start_pfn, regions[-1].end_pfn)
        assert mappings(kernel.vmemmap, pages) == twin_mappings(twin, pages)
        assert tables(kernel, regions) == {r for r in twin.tables if in_regions(r, regions)}
        assert kernel.vmemmap.live_pages() == live(twin)
        assert kernel.vmemmap.owned_pages().tolist() == counted(kernel.vmemmap)
        for origin in (MemmapOrigin.BOOT, MemmapOrigin.BUDDY):
            assert kernel.ledger.outstanding[origin] == twin.outstanding[origin], origin
        for each in self.added:
            self.compare_altmap(each)
        assert {entry.law for entry in kernel.ledger.breaches} == twin.laws
        self.compare_struct_pages()

    def compare_altmap(self, added: Added) -> None:
        model, twin = added.altmap, added.twin_altmap
        if model is not None and twin is not None:
            assert (model.alloc, model.align) == (twin.alloc, twin.align)

    def compare_struct_pages(self) -> None:
        kernel, twin = self.kernel, self.twin
        assert column(kernel, self.window, "memmap").tolist() == memmaps(twin, self.window).tolist()
        start = kernel.vmemmap.unused_pmd_start
        assert (None if start == NOWHERE else start * twin.page) == twin.unused_pmd_start
        if self.geometry.arch in MARKED_ARCHES:
            marked = column(kernel, self.window, "content") == PageContent.UNUSED
            marked &= column(kernel, self.window, "memmap") > 0
            sure, unsure = marked_struct_pages(twin, self.window)
            assert (marked | unsure).tolist() == (sure | unsure).tolist()


def column(kernel: Kernel, pfns: PfnRange, name: str) -> NDArray[Any]:
    """One value a pfn."""
    return np.repeat(kernel.pfns.within(pfns, name), kernel.pfns.lengths(pfns))


Mapping = tuple[str, MemmapOrigin, int]
"""How a page of vmemmap is mapped, where from, and by which frame."""


def mappings(table: Vmemmap, pages: PfnRange) -> dict[int, Mapping]:
    """The model's runs, decoded a page at a time."""
    found = {}
    for part, row in table.runs_of(pages):
        for page in range(part.start_pfn, part.end_pfn):
            level = "PMD" if row["level"] == MappingLevel.PMD else "PTE"
            found[page] = (level, MemmapOrigin(row["origin"]), frame_of(page, row))
    return found


def frame_of(page: int, row: dict[str, int]) -> int:
    if row["tail"] != NOWHERE:
        return row["tail"]
    if row["period"]:
        within = (page - row["phase"]) % row["period"]
        return page - within + min(within, 1)
    return page + row["offset"]


def twin_mappings(twin: Twin, pages: PfnRange) -> dict[int, Mapping]:
    found = {p: ("PTE", f.origin, f.number) for p, f in twin.ptes.items() if p in pages}
    per = twin.pmd // twin.page
    for region, frame in twin.blocks.items():
        for index in range(per):
            if region * per + index in pages:
                found[region * per + index] = ("PMD", frame.origin, frame.number + index)
    return found


def tables(kernel: Kernel, regions: list[PfnRange]) -> set[int]:
    has = [r for r in regions if kernel.vmemmap.at(r.start_pfn, "page_table")]
    return {r.start_pfn // r.nr_pages for r in has}


def in_regions(region: int, regions: list[PfnRange]) -> bool:
    return any(r.start_pfn // r.nr_pages == region for r in regions)


def frames(twin: Twin) -> dict[int, tuple[Frame, int]]:
    """Every allocation once, with its pages."""
    per = twin.pmd // twin.page
    found = {id(frame): (frame, 1) for frame in twin.ptes.values()}
    return found | {id(frame): (frame, per) for frame in twin.blocks.values()}


def live(twin: Twin) -> dict[MemmapOrigin, int]:
    origins = [origin for origin in MemmapOrigin if origin != MemmapOrigin.NONE]
    count: dict[MemmapOrigin, int] = dict.fromkeys(origins, 0)
    for frame, nr in frames(twin).values():
        count[frame.origin] += nr
    return count


def memmaps(twin: Twin, pfns: PfnRange) -> NDArray[Any]:
    """Where the first byte of each struct page lives; 0 unless all of it is mapped."""
    first = pfns.start_pfn * twin.each // twin.page
    last = -(-pfns.end_pfn * twin.each // twin.page)
    per = twin.pmd // twin.page
    origin = np.zeros(last - first, int)
    for page in range(first, last):
        frame = twin.ptes.get(page) or twin.blocks.get(page // per)
        origin[page - first] = frame.origin if frame else 0
    pfn = np.arange(pfns.start_pfn, pfns.end_pfn)
    head = origin[pfn * twin.each // twin.page - first]
    tail = origin[((pfn + 1) * twin.each - 1) // twin.page - first]
    return np.where((head > 0) & (tail > 0), head, 0)


def marked_struct_pages(twin: Twin, pfns: PfnRange) -> tuple[NDArray[Any], NDArray[Any]]:
    """Struct pages that are marked to the last byte; and those at the edge of a huge page,
    or partly marked because a write of a struct page's size began in the middle of one."""
    start, end = pfns.start_pfn * twin.each, pfns.end_pfn * twin.each
    marked = np.zeros(end - start, bool)
    for region, memory in twin.memory.items():
        first = max(start, region * twin.pmd)
        last = min(end, (region + 1) * twin.pmd)
        if first < last:
            content = np.frombuffer(bytes(memory), np.uint8) == UNUSED
            offset = region * twin.pmd
            marked[first - start : last - start] = content[first - offset : last - offset]
    each = marked.reshape(-1, twin.each)
    pfn = np.arange(pfns.start_pfn, pfns.end_pfn)
    edge = pfn * twin.each // twin.pmd != ((pfn + 1) * twin.each - 1) // twin.pmd
    every: NDArray[Any] = np.asarray(each.all(axis=1))
    unsure: NDArray[Any] = edge | (each.any(axis=1) & ~every)
    return every, unsure


def run(
    sequence: list[Step], geometry: str, rules: KernelRules = MAINLINE, layout: str = "collision",
    **fields: Any,
) -> Pair:  # fmt: skip
    sizes = GEOMETRIES[geometry]
    pair = Pair(sizes, rules, replace(LAYOUTS[layout](sizes), **fields))
    pair.compare()
    for step in sequence:
        pair.step(step)
        pair.compare()
        if pair.crashed:
            break
    return pair


def other(**fields: Any) -> KernelRules:
    return replace(MAINLINE, **fields)


VARIANTS: dict[str, tuple[str, KernelRules]] = {
    "x86": ("tiny", MAINLINE),
    "x86, a byte less than a section marked": ("tiny_56", MAINLINE),
    "x86 before 5.13": ("tiny_56", other(vmemmap_marks_unpopulated="never")),
    "x86 before 5.18": ("tiny_56", other(vmemmap_marks_unpopulated="misplaced")),
    "x86, altmap for base pages": ("tiny_56", other(altmap_gives_huge_pages_only=False)),
    "arm64": ("tiny_arm64", MAINLINE),
    "arm64 with blocks for parts": ("tiny_arm64", other(arm64_maps_parts_by_base_pages=False)),
    "arm64 before 5.7": ("tiny_arm64", other(arm64_frees_vmemmap=False)),
    "arm64 with 64K pages": ("tiny_arm64_64k", MAINLINE),
    "powerpc": ("tiny_powerpc", MAINLINE),
    "powerpc before 5.4": ("tiny_powerpc", other(powerpc_altmap_keeps_its_bounds=False)),
    "s390": ("tiny_s390", MAINLINE),
    "compound pages without alias": ("tiny", other(vmemmap_dedup_needs_an_alias=False)),
    "arm64 with compound pages": ("tiny_arm64", other(vmemmap_dedup_needs_the_arch=False)),
    "s390 with compound pages": ("tiny_s390", other(vmemmap_dedup_needs_the_arch=False)),
    "without compound pages": ("tiny", other(vmemmap_dedup=False)),
    "small": ("small", MAINLINE),
}
LARGE = ("x86_64_56", "arm64_64k", "s390", "powerpc_64k")
EXAMPLES = int(os.environ.get("TWIN_EXAMPLES", "100"))
relaxed = settings(
    deadline=None, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck)
)


@pytest.mark.unmeasured
@pytest.mark.parametrize("layout", ["collision", "leading-hole"])
@pytest.mark.parametrize("variant", VARIANTS)
@relaxed
@given(sequences)
def test_the_model_is_its_twin(variant: str, layout: str, sequence: list[Step]) -> None:
    geometry, rules = VARIANTS[variant]
    run(sequence, geometry, rules, layout)


def part(first: int, nr: int, altmap: tuple[int, int, bool] | None = None) -> Add:
    return Add(first, nr, False, altmap, None, None)


GONE = Remove(0, 0, 1, False, False, False)
CASES: dict[str, tuple[str, list[Step]]] = {
    "a walk from an unaligned start": ("tiny_arm64_64k", [part(1, 2), GONE]),
    "one that crosses a page of vmemmap": ("tiny_arm64_64k", [part(1, 1), part(2, 4), GONE, GONE]),
    "a compound page of four sections": ("small", [Add(0, 3, True, None, 0, None), GONE]),
    "the altmap of a part": ("tiny_arm64", [part(0, 3, (1, 3, False)), GONE]),
    "an altmap that is used up": ("tiny_s390", [Add(0, 0, True, (0, 1, True), None, None), GONE]),
    "a failing page of PTEs": ("tiny", [Add(0, 2, False, None, None, (3, 0))]),
    "a failing compound page": ("small", [Add(0, 3, True, None, 1, (1, 3)), GONE]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_model_is_its_twin_where_chance_seldom_leads(case: str) -> None:
    geometry, sequence = CASES[case]
    pair = run(sequence, geometry)
    assert pair.added or pair.refused or GONE in sequence


@pytest.mark.unmeasured
@pytest.mark.parametrize("before_reset", [True, False])
@pytest.mark.parametrize("geometry", ["tiny", "tiny_56"])
@relaxed
@given(sequences)
def test_the_model_is_its_twin_without_vmemmap(
    geometry: str, before_reset: bool, sequence: list[Step]
) -> None:
    rules = other(memmap_freed_before_reset=before_reset)
    run(sequence, geometry, rules, sparsemem_vmemmap=False)


@pytest.mark.parametrize("geometry", LARGE)
@settings(relaxed, max_examples=4)
@given(st.lists(adds | removals, min_size=3, max_size=6))
def test_the_model_is_its_twin_at_full_size(geometry: str, sequence: list[Step]) -> None:
    run(sequence, geometry)


# Reference counting, page by page


def counted(table: Vmemmap) -> list[int]:
    """Pages that back each run and no run before it, by looking at every page."""
    # An altmap that begins anew after a failed add may give a page that is in use: that one
    # is two allocations all the same, so it counts where it is mapped.
    seen: set[tuple[int, int, int]] = set()
    result = []
    for start, end, row in zip(
        table.start_pfn.tolist(), table.end_pfn.tolist(), table.cells.tolist(), strict=True
    ):
        named = {name: row[index] for name, index in table.INDEX.items()}
        found: set[tuple[int, int, int]] = set()
        if named["level"]:
            own = named["origin"] in (MemmapOrigin.ALTMAP, MemmapOrigin.SELF_HOSTED)
            found = {
                (named["origin"], frame_of(page, named), page if own else NOWHERE)
                for page in range(start, end)
            }
        result.append(len(found - seen))
        seen |= found
    return result


def owned_one_by_one(nr_pages: int, period: int) -> int:
    return sum(1 for page in range(nr_pages) if page % period < 2)


@given(st.integers(0, 200), st.integers(3, 40))
def test_the_pages_in_front_are_counted_as_if_one_by_one(nr_pages: int, period: int) -> None:
    before: Pfns = owned_before(np.array([nr_pages]), np.array([period]))
    assert before.tolist() == [owned_one_by_one(nr_pages, period)]
