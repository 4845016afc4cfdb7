"""memblock.memory against a dict of pfns, and the posted MEMBLOCK_UNUSED_VMEMMAP helpers."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotplug_model.errors import KernelRefusal
from hotplug_model.mm.memblock import (
    memblock_add,
    memblock_add_node,
    memblock_clear_unused_vmemmap,
    memblock_is_vmemmap_unused_range,
    memblock_isolate_range,
    memblock_mark_unused_vmemmap,
    memblock_merge_regions,
    memblock_remove,
    memblock_search,
)
from hotplug_model.pfn import PfnRange
from hotplug_model.state.memblock import (
    CORRECTED,
    INIT_MEMBLOCK_REGIONS,
    NUMA_NO_NODE,
    POSTED,
    Memblock,
    MemblockFlag,
    Region,
    UnusedVmemmapQuery,
    Verdict,
)
from stateful_tests.kernels import pages

END = 24
MARK = int(MemblockFlag.MEMBLOCK_UNUSED_VMEMMAP)
HOTPLUG = int(MemblockFlag.MEMBLOCK_HOTPLUG)
UNUSED, IN_USE = Verdict(unused=True), Verdict(unused=False)
OUT_OF_BOUNDS = Verdict(unused=False, out_of_bounds=True)


class Pages:
    """The twin: flags and node of every pfn that is known. It knows no region."""

    def __init__(self, max: int = INIT_MEMBLOCK_REGIONS) -> None:
        self.max = max
        self.at: dict[int, tuple[int, int]] = {}

    def runs(self, known: Iterable[int]) -> list[Region]:
        """The least regions that say it: pfns in a row with equal flags and node."""
        runs = []
        numbered = ((pfn, pfn - nr) for nr, pfn in enumerate(sorted(known)))
        for _, group in groupby(numbered, lambda each: (self.at.get(each[0]), each[1])):
            row = [pfn for pfn, _ in group]
            runs.append(Region(row[0], row[-1] + 1, *self.at.get(row[0], (0, 0))))
        return runs

    @property
    def cnt(self) -> int:
        return max(1, len(self.runs(self.at)))

    def add(self, pfns: PfnRange, nid: int, flags: int) -> None:
        new = [pfn for pfn in span(pfns) if pfn not in self.at]
        if self.at and self.cnt + len(self.runs(new)) > self.max:
            raise KernelRefusal(errno.ENOMEM)
        self.at |= dict.fromkeys(new, (flags, nid))

    def isolate(self, pfns: PfnRange) -> list[int]:
        if span(pfns) and self.cnt + 2 > self.max:
            raise KernelRefusal(errno.ENOMEM)
        return [pfn for pfn in span(pfns) if pfn in self.at]

    def remove(self, pfns: PfnRange) -> None:
        for pfn in self.isolate(pfns):
            del self.at[pfn]

    def setclr(self, pfns: PfnRange, set_flag: bool) -> None:
        for pfn in self.isolate(pfns):
            flags, nid = self.at[pfn]
            self.at[pfn] = (flags | MARK if set_flag else flags & ~MARK), nid

    def unused(self, pfns: PfnRange) -> bool:
        return all(self.at.get(pfn, (0, 0))[0] & MARK for pfn in span(pfns))


def span(pfns: PfnRange) -> range:
    return range(pfns.start_pfn, pfns.end_pfn)


@dataclass(frozen=True)
class Call:
    """One call of memblock, and its like a page at a time."""

    verb: str
    pfns: PfnRange
    nid: int = 0
    flags: int = 0

    def to_memory(self, memory: Memblock) -> None:
        if self.verb == "add":
            memblock_add_node(memory, self.pfns, self.nid, self.flags)
        elif self.verb == "remove":
            memblock_remove(memory, self.pfns)
        elif self.verb == "mark":
            memblock_mark_unused_vmemmap(memory, self.pfns)
        else:
            memblock_clear_unused_vmemmap(memory, self.pfns)

    def to_pages(self, twin: Pages) -> None:
        if self.verb == "add":
            twin.add(self.pfns, self.nid, self.flags)
        elif self.verb == "remove":
            twin.remove(self.pfns)
        else:
            twin.setclr(self.pfns, self.verb == "mark")


def add(start: int, end: int, nid: int = 0, flags: int = 0) -> Call:
    return Call("add", pages(start, end), nid, flags)


def remove(start: int, end: int) -> Call:
    return Call("remove", pages(start, end))


def mark(start: int, end: int) -> Call:
    return Call("mark", pages(start, end))


def built(*calls: Call, max: int = INIT_MEMBLOCK_REGIONS) -> Memblock:
    memory = Memblock.empty(max)
    for call in calls:
        call.to_memory(memory)
    return memory


def refused(change: Callable[..., object], *arguments: object) -> bool:
    """Whether it raises KernelRefusal; with any other errno than ENOMEM the test fails."""
    try:
        change(*arguments)
    except KernelRefusal as refusal:
        if refusal.errno != errno.ENOMEM:
            raise
        return True
    return False


def ask(memory: Memblock, start: int, end: int, query: UnusedVmemmapQuery = CORRECTED) -> Verdict:
    return memblock_is_vmemmap_unused_range(memory, memory, pages(start, end), query)


ranges = st.tuples(st.integers(0, END), st.integers(0, END)).map(lambda ends: pages(*sorted(ends)))
asked = ranges.filter(lambda pfns: pfns.nr_pages > 0)
verbs = st.sampled_from(["add", "add", "remove", "mark", "mark", "clear"])
calls = st.lists(
    st.builds(Call, verbs, ranges, st.integers(0, 1), st.sampled_from([0, HOTPLUG])), max_size=16
)


# Regions


@given(calls, asked, st.sampled_from([2, 3, 4, 6, INIT_MEMBLOCK_REGIONS]))
def test_regions_and_refusals_are_those_of_a_dict_of_pfns(
    steps: list[Call], pfns: PfnRange, max: int
) -> None:
    memory, twin = Memblock.empty(max), Pages(max)
    for call in steps:
        before = memory.numbers()
        said_no = refused(call.to_memory, memory)
        assert said_no == refused(call.to_pages, twin)
        assert memory.known() == twin.runs(twin.at)
        assert memory.cnt == twin.cnt
        assert not (said_no and memory.numbers() != before)
    assert ask(memory, pfns.start_pfn, pfns.end_pfn) == Verdict(twin.unused(pfns))
    for pfn in range(END):
        holds = [idx for idx, rgn in enumerate(memory.known()) if rgn.base <= pfn < rgn.end]
        assert [memblock_search(memory, pfn)] == (holds or [-1])


@given(calls, asked)
def test_isolated_regions_are_exactly_the_known_part_of_the_range(
    steps: list[Call], pfns: PfnRange
) -> None:
    memory = built(*steps)
    before = memory.known()
    rgns = memblock_isolate_range(memory, pfns)
    inside = {pfn for idx in rgns for pfn in range(*memory.region(idx)[:2])}
    assert inside == {pfn for pfn in span(pfns) if memblock_search(memory, pfn) >= 0}
    memblock_merge_regions(memory)
    assert memory.known() == before


def test_memory_without_a_node_joins_no_memory_with_one() -> None:
    memory = built(add(0, 4))
    memblock_add(memory, pages(4, 8))
    memblock_add(memory, pages(8, 12))
    assert memory.known() == [Region(0, 4, 0, 0), Region(4, 12, 0, NUMA_NO_NODE)]


def test_memory_that_is_known_keeps_its_mark_when_added_again() -> None:
    memory = built(add(0, 4), mark(0, 4), add(0, 8))
    assert memory.known() == [Region(0, 4, MARK, 0), Region(4, 8, 0, 0)]


def test_memory_that_was_removed_comes_back_without_its_mark() -> None:
    memory = built(add(0, 8), mark(0, 8), remove(0, 4), add(0, 4))
    assert memory.known() == [Region(0, 4, 0, 0), Region(4, 8, MARK, 0)]


def test_unknown_memory_cannot_be_marked_and_nobody_is_told() -> None:
    for memory in (built(add(8, 12)), built(add(4, 4))):
        before = memory.numbers()
        assert memblock_mark_unused_vmemmap(memory, pages(0, 8)) == 0
        assert memory.numbers() == before


# Behind cnt


def test_removal_leaves_the_last_region_behind_cnt() -> None:
    memory = built(add(0, 4), add(8, 12), add(16, 20), remove(0, 4))
    assert memory.cnt == 2
    assert [memory.region(idx).base for idx in range(4)] == [8, 16, 16, 0]


def test_merging_leaves_the_last_region_behind_cnt() -> None:
    memory = built(add(0, 4), add(8, 12), add(16, 20), add(4, 8))
    assert memory.cnt == 2
    assert [memory.region(idx)[:2] for idx in range(5)] == [
        (0, 12), (16, 20), (16, 20), (16, 20), (0, 0),
    ]  # fmt: skip


def test_an_empty_array_keeps_one_empty_region_and_what_lay_behind() -> None:
    memory = built(add(0, 4), add(8, 12), remove(0, 12))
    assert (memory.cnt, memory.known(), built(add(4, 4)).region(0)) == (1, [], (0, 0, 0, 0))
    assert [memory.region(idx)[:2] for idx in range(2)] == [(0, 0), (8, 12)]


@given(calls)
def test_a_copy_is_equal_and_independent(steps: list[Call]) -> None:
    memory = built(*steps)
    copy = memory.copy()
    assert copy.numbers() == memory.numbers()
    memblock_add(copy, pages(END, END + 1))
    assert copy.numbers() != memory.numbers() == built(*steps).numbers()


def test_a_fingerprint_tells_stale_slots_and_limits_apart() -> None:
    clean, stale = built(add(0, 4)), built(add(0, 4), add(8, 12), remove(8, 12))
    assert clean.known() == stale.known()
    assert clean.numbers() != stale.numbers()
    assert clean.numbers() != built(add(0, 4), max=4).numbers()


# Limits


def test_a_mark_needs_two_free_slots_even_if_it_splits_nothing() -> None:
    memory = built(add(0, 4), add(8, 12), max=3)
    assert refused(memblock_mark_unused_vmemmap, memory, pages(0, 4))
    assert not refused(memblock_mark_unused_vmemmap, memory, pages(4, 4))


@pytest.mark.parametrize("verb", ["mark", "clear", "remove"])
def test_a_refused_call_leaves_no_split_behind(verb: str) -> None:
    memory = built(add(0, 8, flags=MARK), add(12, 16), max=3)
    before = memory.numbers()
    assert refused(Call(verb, pages(2, 4)).to_memory, memory)
    assert memory.numbers() == before


def test_memory_that_would_merge_needs_a_free_slot_all_the_same() -> None:
    assert not refused(add(4, 8).to_memory, built(add(0, 4), max=2))
    assert refused(add(4, 8).to_memory, built(add(0, 4), max=1))


# The posted query


def without(*faults: str) -> UnusedVmemmapQuery:
    """The corrected query with these faults."""
    return replace(CORRECTED, **dict.fromkeys(faults, False))


def test_the_posted_query_has_every_fault_and_the_corrected_one_none() -> None:
    names = [field.name for field in fields(UnusedVmemmapQuery)]
    assert without(*names) == POSTED
    assert UnusedVmemmapQuery() == CORRECTED


@pytest.mark.parametrize(
    ("marked", "elsewhere", "posted", "corrected"),
    [(4, 8, UNUSED, IN_USE), (8, 4, IN_USE, UNUSED)],
    ids=["frees what is in use", "leaks what is unused"],
)
def test_honours_type_every_region_but_the_first_is_of_memory(
    marked: int, elsewhere: int, posted: Verdict, corrected: Verdict
) -> None:
    mt = built(add(0, 4), add(4, 8, nid=1), mark(0, marked))
    memory = built(add(0, 4), add(4, 8, nid=1), mark(0, elsewhere))
    query = without("honours_type")
    pfns = pages(0, 8)
    assert memblock_is_vmemmap_unused_range(memory, mt, pfns, query) == posted
    assert memblock_is_vmemmap_unused_range(memory, mt, pfns) == corrected
    assert memblock_is_vmemmap_unused_range(memory, mt, pages(0, 4), query) == UNUSED


@pytest.mark.parametrize("query", [without("checks_search"), POSTED], ids=["alone", "posted"])
def test_checks_search_minus_one_is_used_as_an_index(query: UnusedVmemmapQuery) -> None:
    memory = built(add(4, 8), mark(4, 8))
    assert ask(memory, 0, 8, query) == OUT_OF_BOUNDS
    assert ask(memory, 0, 8) == IN_USE


@pytest.mark.parametrize("query", [without("stops_at_cnt"), POSTED], ids=["alone", "posted"])
@pytest.mark.parametrize(
    ("memory", "end", "posted", "corrected"),
    [
        (built(add(0, 4), mark(0, 4)), 4, IN_USE, UNUSED),
        (built(add(0, 4, 0, MARK), add(4, 8, 1, MARK), max=2), 8, OUT_OF_BOUNDS, UNUSED),
        (
            built(add(0, 4, 0, MARK), add(4, 8, 1, MARK), add(12, 16), remove(4, 16)),
            8, UNUSED, IN_USE,
        ),
    ],
    ids=["leaks before a zeroed slot", "leaves a full array", "believes stale slots"],
)  # fmt: skip
def test_stops_at_cnt_the_slots_behind_are_read_as_regions(
    query: UnusedVmemmapQuery, memory: Memblock, end: int, posted: Verdict, corrected: Verdict
) -> None:
    assert ask(memory, 0, end, query) == posted
    assert ask(memory, 0, end) == corrected


def test_checks_coverage_what_is_unknown_counts_as_unused() -> None:
    memory = built(add(0, 4), mark(0, 4), add(8, 12), mark(8, 12), add(16, 20))
    for end, why in (8, "before the end"), (12, "between regions"):
        assert ask(memory, 0, end, without("checks_coverage")) == UNUSED, why
        assert ask(memory, 0, end, POSTED) == UNUSED, why
        assert ask(memory, 0, end) == IN_USE, why


@pytest.mark.parametrize(
    ("change", "flags"),
    [(memblock_mark_unused_vmemmap, 0), (memblock_clear_unused_vmemmap, MARK)],
    ids=["mark", "clear"],
)
def test_checks_errors_a_refused_change_passes_unnoticed(
    change: Callable[[Memblock, PfnRange, UnusedVmemmapQuery], int], flags: int
) -> None:
    full, roomy = (built(add(0, 4, flags=flags), max=max) for max in (2, 3))
    assert change(full, pages(0, 4), POSTED) == -errno.ENOMEM
    assert full.known() == [Region(0, 4, flags, 0)]
    assert refused(change, full, pages(0, 4), CORRECTED)
    assert change(roomy, pages(0, 4), POSTED) == 0
    assert roomy.known() == [Region(0, 4, flags ^ MARK, 0)]


@given(asked, asked)
def test_what_the_last_mark_had_room_for_the_clear_behind_it_has_room_for(
    whole: PfnRange, part: PfnRange
) -> None:
    part = part.intersection(whole)
    if part.nr_pages <= 0 or part == whole:
        return
    roomy = built(add(0, END), Call("mark", whole), Call("clear", part))
    full = Memblock(roomy.regions[: roomy.cnt + 2].copy(), roomy.cnt)
    assert memblock_mark_unused_vmemmap(full, part) == 0
    assert ask(full, whole.start_pfn, whole.end_pfn) == UNUSED
    assert memblock_clear_unused_vmemmap(full, whole) == 0


# Where it is right


def is_covered(memory: Memblock, pfns: PfnRange) -> bool:
    return all(memblock_search(memory, pfn) >= 0 for pfn in span(pfns))


HARMLESS: dict[str, Callable[[Memblock, PfnRange], bool]] = {
    "honours_type": lambda memory, pfns: True,
    "checks_search": lambda memory, pfns: memblock_search(memory, pfns.start_pfn) >= 0,
    "stops_at_cnt": lambda memory, pfns: any(memory.base[: memory.cnt] >= pfns.end_pfn),
    "checks_coverage": is_covered,
    "checks_errors": lambda memory, pfns: True,
}


@pytest.mark.unmeasured
@pytest.mark.parametrize("fault", HARMLESS)
@given(calls, asked)
def test_each_fault_is_harmless_in_memory_but_for_its_own_case(
    fault: str, steps: list[Call], pfns: PfnRange
) -> None:
    memory = built(*steps)
    if HARMLESS[fault](memory, pfns):
        expected = ask(memory, pfns.start_pfn, pfns.end_pfn)
        assert ask(memory, pfns.start_pfn, pfns.end_pfn, without(fault)) == expected


@given(calls, asked)
def test_the_posted_query_is_right_about_covered_ranges_with_memory_behind(
    steps: list[Call], pfns: PfnRange
) -> None:
    memory = built(*steps, add(END + 1, END + 2))
    if is_covered(memory, pfns):
        expected = ask(memory, pfns.start_pfn, pfns.end_pfn)
        assert ask(memory, pfns.start_pfn, pfns.end_pfn, POSTED) == expected
