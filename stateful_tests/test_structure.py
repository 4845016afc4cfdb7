"""The architecture, held by tests: who imports whom, how large things are, what is said."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import hotplug_model
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.invariants import INVARIANTS, Invariant

ROOT = Path(hotplug_model.__file__).parent
NAME = ROOT.name
FILES = sorted(ROOT.rglob("*.py"))
every_file = pytest.mark.parametrize(
    "path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES]
)
TYPE_CHECKING = ast.dump(ast.parse("TYPE_CHECKING", mode="eval").body)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def without_type_checking(body: list[ast.stmt], top_only: bool) -> Iterator[ast.stmt]:
    """Statements that run: not under ``if TYPE_CHECKING``; inside functions unless *top_only*."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and ast.dump(node.test) == TYPE_CHECKING:
            continue
        if top_only and isinstance(node, (ast.FunctionDef, ast.Lambda)):
            continue
        for field in ("body", "orelse", "finalbody", "handlers"):
            inner = getattr(node, field, [])
            if isinstance(inner, list):
                yield from without_type_checking(inner, top_only)


def imports(path: Path, top_only: bool = False) -> set[str]:
    """Modules that a file imports when it runs, those of the package to the module."""
    found: set[str] = set()
    known = {module(each) for each in FILES}
    for node in without_type_checking(tree(path).body, top_only):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            nested = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (nested & known) or {node.module}
    return found


def imports_of(path: Path) -> set[str]:
    """Every import, in functions and for type checking too."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def inside(names: set[str], *packages: str) -> set[str]:
    """Those of *names* that lie in one of the packages, given as seen from the top."""
    tops = [f"{NAME}.{each}" for each in packages]
    return {name for name in names for top in tops if f"{name}.".startswith(f"{top}.")}


# Who imports whom

DRIVERS = (
    "machine", "check", "cli", "commands", "report", "pytest_plugin", "explore", "symmetry",
    "minimise", "certify", "fewer", "normal_form", "suspicion", "trace", "trace_json", "trace_file",
    "recorded", "coverage", "verdict", "walk", "bisect", "bug", "fates", "cost", "audit", "scenes",
    "hunt", "floor", "settings", "sightings", "workers", "reachable", "mutants", "affected",
    "families", "kept", "__main__",
)  # fmt: skip
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "state": ("mm", "ops", "walkers", "invariants", "kernel", "checker", "changes", *DRIVERS),
    "mm": ("ops", "walkers", "invariants", "checker", "changes", "memo", "defects", *DRIVERS),
    "ops": ("invariants", "checker", "changes", "memo", "defects", *DRIVERS),
    "users": ("ops", "mm", "invariants", "checker", "changes", "memo", "defects", *DRIVERS),
    "walkers": (
        "users", "ops", "mm", "invariants", "checker", "changes", "memo", "defects", *DRIVERS,
    ),
    "invariants": ("ops", "mm", "checker", "changes", "memo", "defects", *DRIVERS),
    "changes": ("ops", "walkers", "invariants", "checker", "memo", "defects", *DRIVERS),
}  # fmt: skip


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_down(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert inside(imports_of(path), *FORBIDDEN[package]) == set(), path


def top_level(name: str) -> list[Path]:
    return [path for path in FILES if name in {each.split(".")[0] for each in imports_of(path)}]


def test_only_machine_imports_hypothesis() -> None:
    assert top_level("hypothesis") == [ROOT / "machine.py"]


def test_only_report_imports_rich() -> None:
    users = top_level("rich")
    assert users
    assert {path.parent for path in users} == {ROOT / "report"}


def test_nothing_but_the_plugin_and_the_machine_imports_pytest() -> None:
    assert {path.name for path in top_level("pytest")} <= {"pytest_plugin.py", "machine.py"}


def test_no_module_imports_itself_by_a_detour() -> None:
    names = {module(path) for path in FILES}
    graph = {module(path): imports(path, top_only=True) & names for path in FILES}
    done: set[str] = set()

    def visit(name: str, on_the_way: tuple[str, ...]) -> None:
        assert name not in on_the_way, " -> ".join((*on_the_way, name))
        if name not in done:
            for each in sorted(graph[name]):
                visit(each, (*on_the_way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize(
    "code",
    [
        "import hotplug_model",
        "import runpy; sys.argv[1:] = ['--help']; "
        "runpy.run_module('hotplug_model', run_name='__main__')",
        "import hotplug_model.pytest_plugin",
    ],
    ids=["import", "--help", "plugin"],
)
def test_loads_no_heavy_package(code: str) -> None:
    script = (
        f"import sys\ntry:\n    exec({code!r})\nexcept SystemExit:\n    pass\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'hypothesis', 'rich', 'numpy'}))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


# Sizes live in geometry.py

SIZED = ("mm", "state", "ops", "invariants", "walkers", "users", "defects")
SIZES = {
    value
    for geometry in GEOMETRIES
    for value in (
        geometry.page_bytes, geometry.pages_per_section, geometry.pages_per_subsection,
        geometry.subsections_per_section, geometry.pageblock_nr_pages,
    )
    if value > 8
} - {16, 64}  # fmt: skip
"""16 and 64 are also limits on what a user may ask for."""
SHIFTS = {21, 27, 30}


def literals(path: Path) -> set[int]:
    return {
        node.value
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and type(node.value) is int
    }


def test_no_other_file_knows_a_size() -> None:
    files = [path for package in SIZED for path in (ROOT / package).rglob("*.py")]
    files += [ROOT / f"{name}.py" for name in ("boot", "kernel", "extents", "memo", "page_state")]
    assert {4096, 32768, 512} <= SIZES
    for path in files:
        assert literals(path) & (SIZES | SHIFTS) == set(), path


# What is said, and how much


def definitions(path: Path) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node


def documented(body: list[ast.stmt]) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    """Public functions and classes, and public methods of these."""
    for node in body:
        public = isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name[:1] != "_"
        if public and isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            overload = "overload" in {ast.unparse(each) for each in node.decorator_list}
            if not overload:
                yield node
            if isinstance(node, ast.ClassDef):
                yield from documented(node.body)


@every_file
def test_everything_public_has_a_docstring(path: Path) -> None:
    assert ast.get_docstring(tree(path)), "the module"
    assert [each.name for each in documented(tree(path).body) if not ast.get_docstring(each)] == []


@every_file
def test_a_file_has_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@every_file
def test_a_function_has_at_most_50_lines(path: Path) -> None:
    long = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in definitions(path)
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: lines for name, lines in long.items() if lines > 50} == {}


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda each: each.name)
def test_every_invariant_names_its_source(invariant: Invariant) -> None:
    assert invariant.source
