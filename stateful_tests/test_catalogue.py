"""The tables are as the registries, the README is as the tables, and nothing lacks a word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hotplug_model import catalogue
from hotplug_model.__main__ import main
from hotplug_model.catalogue import REGIONS, TABLES, kernel_source, renewed
from hotplug_model.changes import CHANGES
from hotplug_model.cli import LISTS
from hotplug_model.defects import DEFECTS
from hotplug_model.errors import UserError
from hotplug_model.invariants import INVARIANTS
from hotplug_model.markdown import WIDEST, Table, cell, markdown
from hotplug_model.ops import OPS
from hotplug_model.walkers import WALKERS

ROOT = Path(__file__).parent.parent
OURS = {"veto_memory_notifier", "unpin_pages", "release_mem_region", "interleave", "walk"}
"""Operations that may stand for no kernel function: what they undo or set up names one."""


def test_the_readme_is_current() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    current = renewed(text) == text
    assert current, "run: python -m hotplug_model.catalogue README.md"


DOCS = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.stem)
def test_a_page_of_docs_is_current_and_linked(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    current = renewed(text) == text
    assert current, "run: python -m hotplug_model.catalogue docs/*.md"
    assert f"](docs/{path.name})" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.stem)
def test_links_of_a_page_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]*)", path.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("kind", REGIONS)
def test_one_page_has_every_table(kind: str) -> None:
    pages = [ROOT / "README.md", *DOCS]
    text = "".join(path.read_text(encoding="utf-8") for path in pages)
    assert text.count(f"<!-- begin {kind} -->") == text.count(f"<!-- end {kind} -->") == 1


def test_whatever_can_be_listed_has_a_table() -> None:
    assert set(LISTS) <= set(TABLES)


@pytest.mark.parametrize("kind", TABLES)
def test_every_cell_says_something(kind: str) -> None:
    table = TABLES[kind]()
    rows = [row for row in table.rows if row[0].strip("`") not in OURS]
    assert rows
    assert all(len(row) == len(table.heading) for row in rows)
    assert [row for row in rows if not all(cell.strip("` ") for cell in row)] == []


@pytest.mark.parametrize("name", OPS.names())
def test_every_operation_names_the_kernel_function_that_it_is(name: str) -> None:
    assert "()" in kernel_source(OPS[name]) or name in OURS


@pytest.mark.parametrize("name", INVARIANTS.names())
def test_every_invariant_is_a_sentence_with_a_source(name: str) -> None:
    invariant = INVARIANTS[name]
    assert invariant.message.endswith(".")
    assert invariant.source


@pytest.mark.parametrize("name", DEFECTS.names())
def test_every_defect_is_explained_by_the_kernel_source(name: str) -> None:
    defect = DEFECTS[name]
    assert "Source:" in defect.doc
    assert all(invariant in INVARIANTS for invariant in defect.invariants)


@pytest.mark.parametrize("name", WALKERS.names())
def test_every_walker_names_its_source_file(name: str) -> None:
    walker = WALKERS[name]
    assert walker.file.endswith(".c")
    assert walker.doc.endswith((".", "?"))


@pytest.mark.parametrize("name", CHANGES.names())
def test_every_change_says_what_is_different_with_it(name: str) -> None:
    change = CHANGES[name]
    assert change.doc.endswith(".")
    assert change.subject


# How tables are written


def test_columns_are_aligned_but_for_the_last() -> None:
    table = Table(heading=("a", "what"), rows=[("longer", "x"), ("b", "long prose")])
    assert markdown(table).splitlines() == [
        "| a      | what |",
        "| ------ | --- |",
        "| longer | x |",
        "| b      | long prose |",
    ]


def test_a_long_cell_does_not_widen_its_column() -> None:
    longer = "x" * (WIDEST + 1)
    lines = markdown(Table(heading=("a", "b"), rows=[(longer, "c"), ("d", "e")])).splitlines()
    assert lines[2:] == [f"| {longer} | c |", f"| {'d':<{WIDEST}} | e |"]


def test_a_cell_is_one_line_of_markdown() -> None:
    assert cell("``a`` |\n  b") == "`a` \\| b"


def test_only_what_stands_between_markers_is_renewed() -> None:
    text = "before\n<!-- begin boots -->\noutdated\n<!-- end boots -->\nafter\n"
    new = renewed(text)
    assert new.startswith("before\n<!-- begin boots -->\n\n| boot layout")
    assert new.endswith("\n<!-- end boots -->\nafter\n")
    assert "outdated" not in new
    assert renewed(new) == new


def test_an_unknown_marker_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="walkers"):
        renewed("<!-- begin wakers -->\n<!-- end wakers -->")


def test_files_are_renewed_in_place(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text("<!-- begin boots -->\n<!-- end boots -->\n")
    assert catalogue.main([str(file)]) == 0
    assert "| `collision`" in file.read_text()


def test_a_file_that_is_not_there_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        catalogue.main(["nowhere/a.md"])
    assert "nowhere/a.md: No such file or directory" in capsys.readouterr().err


def test_list_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "geometries", "--markdown"]) == 0
    assert capsys.readouterr().out == markdown(TABLES["geometries"]())


def test_releases_that_lack_the_same_share_a_row() -> None:
    rows = catalogue.releases().rows
    assert len({row[1] for row in rows}) == len(rows)
    assert rows[-1][0] == "6.14"


@pytest.mark.parametrize(
    ("size", "shown"), [(256, "256 B"), (4096, "4 KiB"), (1 << 27, "128 MiB"), (1 << 30, "1 GiB")]
)
def test_sizes_are_for_people(size: int, shown: str) -> None:
    assert catalogue.amount(size) == shown


def test_the_report_is_that_of_the_trace_which_check_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--change", "1f90a3477df3"]) == 1
    (found,) = Path("hotplug-traces").iterdir()
    capsys.readouterr()
    assert main(["show", str(found)]) == 0
    shown = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert shown == catalogue.report().splitlines()[1:-1]
