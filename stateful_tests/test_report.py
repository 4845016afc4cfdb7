"""The report of a trace: short, plain, and about what happened."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import KernelVariant
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.invariants import INVARIANTS, Invariant
from hotplug_model.ops.resource import RequestMemRegion
from hotplug_model.pfn import PfnRange
from hotplug_model.report.counterexample import MAX_NOTES, layout, page
from hotplug_model.report.lines import line, paragraph, show
from hotplug_model.report.strip import LEGEND, cells_of, glyphs
from hotplug_model.trace import Trace
from stateful_tests.kernels import add, remove
from stateful_tests.traces import collision, crowded

LONG_PATH = "/tmp/" + "a directory with spaces/" * 12 + "trace.json"
TRACES = {
    "tiny": collision(),
    "small": collision("small"),
    "x86_64": collision("x86_64"),
    "arm64_64k": collision("arm64_64k"),
    "200 events": collision("tiny", 200),
    "200 events on x86_64": collision("x86_64", 200),
    "crowded": crowded(),
    "hostile": replace(collision(), title="\x1b[2J\n" * 50, postmortem="\x1b[31m\n" * 900),
}


def drawn(trace: Trace, path: str | None = "t.json", max_lines: int = 40) -> list[str]:
    """The report as plain lines."""
    return [text.plain for text in page(trace, path, max_lines=max_lines)]


@pytest.mark.unmeasured
@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("path", ["t.json", LONG_PATH, None])
@pytest.mark.parametrize("max_lines", [40, 32])
def test_a_report_is_never_too_long_or_too_wide(
    name: str, path: str | None, max_lines: int
) -> None:
    lines = drawn(TRACES[name], path, max_lines)
    assert len(lines) <= max_lines + MAX_NOTES + 1
    assert max(map(len, lines)) <= 100
    assert all(text.isprintable() for text in lines)


def test_the_report_says_which_kernel_broke_what_and_where() -> None:
    lines = drawn(collision())
    assert lines[0] == (
        "mainline without 1f90a3477df3 violates walkers_take_no_zone_device_page in step 1"
    )
    text = "\n".join(lines)
    assert "violated: walkers_take_no_zone_device_page at [0xc-0xe) (memmap_init" in text
    assert "Source: pfn_to_online_page(), mm/memory_hotplug.c" in text
    assert "collision: RAM [0x0-0xc) node 0" in text
    assert lines[-1] == "hotplug-model replay t.json"


def test_a_caret_stands_below_the_pages_that_broke_it() -> None:
    lines = drawn(collision())
    at = next(i for i, text in enumerate(lines) if "broken here" in text)
    column = lines[at].index("^")
    assert lines[at - 1][column] == "D"
    assert [text for text in lines if text.startswith("  boot  ")][-1][column] == "h"


def test_the_legend_names_the_glyphs_that_are_used_and_no_others() -> None:
    (legend,) = [text for text in drawn(collision()) if LEGEND["R"] in text]
    assert LEGEND["D"] in legend
    assert LEGEND["h"] in legend
    assert LEGEND["o"] not in legend


def test_the_table_shows_the_page_before_and_when_it_broke() -> None:
    text = "\n".join(drawn(collision()))
    before, _, midway = text.partition("midway in step 1")
    assert re.search(r"> \[0xc-0x10\) +PMOE- n +initialised +Normal/0 .* no", before)
    assert re.search(r"> \[0xc-0xe\) +PMOE- y +initialised +Device/0 .* yes", midway)


def test_the_middle_of_a_long_trace_is_left_out() -> None:
    text = "\n".join(drawn(collision("tiny", 200)))
    assert "... 195 steps ..." in text
    assert "201  asked" in text


def test_a_trace_that_holds_is_drawn_without_a_table() -> None:
    lines = [t.plain for t in page(collision(), "t.json", KernelVariant())]
    assert lines[0] == "mainline holds through 1 step"
    assert not any("violated" in text for text in lines)


def test_a_postmortem_is_shown_where_there_is_room() -> None:
    text = "\n".join(drawn(replace(collision("small"), postmortem="The cause is known."), "t"))
    assert "The cause is known." in text


def test_a_long_path_is_one_word_for_a_shell() -> None:
    lines = drawn(collision(), LONG_PATH)
    start = lines.index("replay it with:") + 1
    command = "\n".join(lines[start:]).replace("\\\n", "").replace("'", "")
    assert command == f"hotplug-model replay {LONG_PATH}"


def test_a_request_that_asks_for_nothing_is_drawn() -> None:
    empty = RequestMemRegion(PfnRange(5, 5))
    trace = replace(collision(), events=(empty,), violates=())
    assert any("-EBUSY" in text for text in drawn(trace))


def test_every_page_has_the_glyph_of_its_row() -> None:
    kernel = collision().machine().kernel
    x = kernel.extents()
    every = glyphs(x)
    sizes = GEOMETRIES["tiny"]
    cells = cells_of(sizes, 1, [(x, every)])
    assert [pfns.nr_pages for pfns in cells] == [sizes.pages_per_subsection] * 4
    assert cells_of(sizes, 0, [(x, every)]) == [sizes.section_pfns(0)]


@pytest.fixture
def never() -> Iterator[str]:
    """An invariant that every machine breaks, in five places."""
    name = "walkers_read_nothing"
    everywhere = [PfnRange(pfn, pfn + 1) for pfn in range(0, 10, 2)]
    check = Invariant(name=name, doc="A message.", law=lambda kernel: everywhere)
    INVARIANTS.add(name, check)
    yield name
    INVARIANTS.discard(name)


def test_a_machine_that_breaks_at_boot_is_drawn(never: str) -> None:
    text = "\n".join(drawn(replace(collision(), events=())))
    assert f"violates {never} at boot" in text
    assert "after boot" in text
    assert "[0x0-0x1), [0x2-0x3), [0x4-0x5), and 2 more (after the step)" in text


def test_what_is_not_as_usual_about_the_boot_is_said() -> None:
    sizes = GEOMETRIES["small"]
    shown = {name: layout(make(sizes), sizes) for name, make in LAYOUTS.items()}
    assert shown["collision"] == "collision: RAM [0x0-0x30) node 0"
    assert shown["stale"].endswith("; no page_poisoning")
    assert "2 sections a block" in shown["large-blocks"]
    assert "memhp_default_state=online_movable" in shown["auto-online"]
    assert "node 1; movable_node" in shown["two-nodes"]


def test_nothing_is_coloured_where_nobody_looks() -> None:
    file = io.StringIO()
    show([line("x" * 300, "bold red"), *paragraph("word " * 90, "  ", 2)], file)
    assert "\x1b" not in file.getvalue()
    assert max(map(len, file.getvalue().splitlines())) == 100
    assert len(file.getvalue().splitlines()) == 3


def regression(name: str) -> Trace:
    path = Path(__file__).parent.parent / "regressions" / f"{name}.json"
    return Trace.loads(path.read_text(encoding="utf-8"))


def test_what_backed_the_memmap_is_said_where_that_changed() -> None:
    lines = drawn(regression("block-mapping-of-a-subsection"))
    assert "  memmap of [0x10-0x18): huge pages from the buddy allocator, shared  ->  none" in lines


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "defect-unwinding-unmaps-the-neighbour",
            "linear map of [0x12-0x14): device memory, mapped  ->  device memory, unmapped by a "
            "failed add",
        ),
        (
            "seed003-removal-as-posted",
            "linear map of [0x10-0x18): private device memory, not mapped  ->  none",
        ),
        (
            "seed003-removal-of-another",
            "linear map of [0xc-0xe): none  ->  nobody's memory, mapped",
        ),
    ],
)
def test_the_linear_map_is_shown_where_the_violation_is_about_it(name: str, said: str) -> None:
    assert f"  {said}" in drawn(regression(name))
    assert not any("linear map of" in each for each in drawn(collision()))


def test_marks_in_memblock_are_shown_where_they_change() -> None:
    trace = regression("seed004-reuse-keeps-marks")
    marked = "  memblock bytes [0x1480-0x1600): MEMBLOCK_UNUSED_VMEMMAP"
    assert f"{marked}  ->  none" in drawn(trace)
    unmarked = replace(trace, changes=("seed004-section-map",))
    assert not any("memblock bytes" in each for each in drawn(unmarked))


def test_what_backs_the_memmap_is_said_where_it_stays_and_should_not() -> None:
    pfns = PfnRange(128, 192)
    whole = replace(regression("unpopulated-part-never-marked"), events=(add(pfns), remove(pfns)))
    lines = drawn(whole)
    assert "  memmap of [0x92-0xdc): huge pages from the buddy allocator" in lines
    assert not any("memmap of" in each for each in drawn(collision()))


def test_a_zone_that_manages_less_than_is_present_says_so() -> None:
    text = "\n".join(drawn(regression("defect-a-broken-page-is-subtracted-twice")))
    assert "managed 0xe of 0x12  ->  span [0x2-0xc) managed 0x9 of 0xa" in text


def test_the_counters_of_an_altmap_are_said() -> None:
    lines = drawn(regression("defect-private-memory-forgets-its-altmap"))
    assert "  altmap of pgmap 0: 4 of 4 pages allocated, 0 lost  ->  none" in lines


def test_the_operation_that_broke_a_law_of_the_ledger_is_named() -> None:
    lines = drawn(regression("block-mapping-of-a-subsection"))
    assert "  Broken by memunmap_pages(pgmap_id=0)." in lines
