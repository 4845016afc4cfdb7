"""PfnTable against a table that stores every pfn by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from hotplug_model.pfn import PfnRange
from hotplug_model.state.pfn_table import COLUMNS, PfnTable

END = 48
ALL = PfnRange(0, END)
ABSENT = {name: -1 if name in ("page_pgmap", "pgmap_array") else 0 for name in COLUMNS}


class Pages:
    """The twin: one dict a pfn."""

    def __init__(self) -> None:
        self.at = [dict(ABSENT) for _ in range(END)]

    def each(self, pfns: PfnRange, name: str, change: Callable[[int], int]) -> None:
        for pfn in range(pfns.start_pfn, pfns.end_pfn):
            self.at[pfn][name] = change(self.at[pfn][name])


@dataclass(frozen=True)
class Write:
    """One call of a method of the table, and its like a page at a time."""

    method: str
    pfns: PfnRange
    name: str
    value: int

    def to_table(self, table: PfnTable) -> None:
        if self.method == "write":
            table.write(self.pfns, **{self.name: self.value, "refcount": self.value + 1})
        elif self.method == "cut":
            table.cut(self.pfns)
        elif self.method == "merge":
            table.merge()
        elif self.method == "assign":
            runs = table.cut(self.pfns)
            table.assign(self.pfns, self.name, table.column(self.name)[runs] * 2 + self.value)
        else:
            getattr(table, self.method)(self.pfns, self.name, self.value)

    def to_pages(self, pages: Pages) -> None:
        value = self.value
        if self.method == "write":
            pages.each(self.pfns, self.name, lambda old: value)
            pages.each(self.pfns, "refcount", lambda old: value + 1)
        change = {
            "set_bits": lambda old: old | value,
            "clear_bits": lambda old: old & ~value,
            "add": lambda old: old + value,
            "assign": lambda old: old * 2 + value,
        }.get(self.method)
        if change is not None:
            pages.each(self.pfns, self.name, change)


ranges = st.tuples(st.integers(0, END), st.integers(0, END)).map(
    lambda ends: PfnRange(min(ends), max(ends))
)
writes = st.lists(
    st.builds(
        Write,
        st.sampled_from(["write", "set_bits", "clear_bits", "add", "assign", "cut", "merge"]),
        ranges,
        st.sampled_from([name for name in COLUMNS if name != "refcount"]),
        st.integers(0, 7),
    ),
    max_size=12,
)


def both(sequence: list[Write], capacity: int = 2) -> tuple[PfnTable, Pages]:
    table, pages = PfnTable(ALL, capacity), Pages()
    for each in sequence:
        each.to_table(table)
        each.to_pages(pages)
    return table, pages


def stored(table: PfnTable) -> list[dict[str, int]]:
    return [{name: table.at(pfn, name) for name in COLUMNS} for pfn in range(END)]


@given(writes)
@example([Write("write", PfnRange(pfn, pfn + 1), "zone", pfn) for pfn in range(0, END, 2)])
def test_every_column_of_every_pfn_is_what_a_table_of_pages_has(sequence: list[Write]) -> None:
    table, pages = both(sequence)
    assert stored(table) == pages.at
    table.merge()
    assert stored(table) == pages.at


@given(writes, ranges)
def test_runs_cover_every_pfn_once_in_order(sequence: list[Write], pfns: PfnRange) -> None:
    table, _ = both(sequence)
    start, end = table.start_pfn.tolist(), table.end_pfn.tolist()
    assert [start[0], *end] == [*start, END]
    assert all(first < last for first, last in zip(start, end, strict=True))


@given(writes)
def test_merged_runs_differ_from_their_neighbours(sequence: list[Write]) -> None:
    table, _ = both([*sequence, Write("merge", ALL, "zone", 0)])
    cells = table.cells
    assert (cells[1:] != cells[:-1]).any(axis=1).all()


@given(writes, st.randoms(use_true_random=False))
def test_equal_contents_have_equal_fingerprints_whatever_came_first(
    sequence: list[Write], random: Random
) -> None:
    table, pages = both(sequence)
    table.merge()
    rebuilt = PfnTable(ALL, 2)
    order = list(range(END))
    random.shuffle(order)
    for pfn in order:
        rebuilt.write(PfnRange(pfn, pfn + 1), **pages.at[pfn])
    rebuilt.merge()
    assert rebuilt.fingerprint() == table.fingerprint()


@given(writes, ranges, st.sampled_from(COLUMNS))
def test_what_is_within_a_range_is_what_its_pages_have(
    sequence: list[Write], pfns: PfnRange, name: str
) -> None:
    table, pages = both(sequence)
    spread = np.repeat(table.within(pfns, name), table.lengths(pfns)).tolist()
    inside = pages.at[pfns.start_pfn : pfns.end_pfn]
    assert spread == [page[name] for page in inside]


@given(writes, ranges)
def test_cutting_makes_runs_that_are_exactly_the_range(
    sequence: list[Write], pfns: PfnRange
) -> None:
    table, _ = both(sequence)
    runs = table.cut(pfns)
    assert sum((table.end_pfn - table.start_pfn)[runs].tolist()) == pfns.nr_pages
    if pfns.nr_pages:
        assert table.start_pfn[runs][0] == pfns.start_pfn


@given(writes, writes)
def test_a_copy_is_independent(before: list[Write], after: list[Write]) -> None:
    table, _ = both(before)
    old = table.fingerprint()
    twin = table.copy()
    assert twin.fingerprint() == old
    for each in after:
        each.to_table(twin)
    assert table.fingerprint() == old


def test_a_fingerprint_sees_every_column() -> None:
    plain = PfnTable(ALL).fingerprint()
    seen = {plain}
    for name in COLUMNS:
        table = PfnTable(ALL)
        table.write(ALL, **{name: 5})
        seen.add(table.fingerprint())
    assert len(seen) == len(COLUMNS) + 1


def test_a_fingerprint_sees_where_a_run_ends() -> None:
    first, second = PfnTable(ALL), PfnTable(ALL)
    first.write(PfnRange(4, 8), zone=1)
    second.write(PfnRange(4, 9), zone=1)
    assert first.fingerprint() != second.fingerprint()


def test_an_empty_range_holds_nothing_and_writes_nothing() -> None:
    table = PfnTable(ALL)
    table.write(PfnRange(8, 8), zone=1)
    assert table.within(PfnRange(8, 8), "zone").tolist() == []
    assert table.nr_runs == 1
