"""The source of the model, its mutants, and running one of them without writing it down."""

from __future__ import annotations

import ast
import contextlib
import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import hotplug_model
from hotplug_model.mutants.kinds import NOTES, edits
from hotplug_model.mutants.place import Edit, first_line, places

PACKAGES = ("mm", "state")
"""Where the rules of the kernel are, and what they are carried out on."""
OF_THE_SEARCH = ("state/faults.py", "state/ledger.py")
"""But for what makes allocations fail and writes down what went wrong,"""
COPIES = ("copy", "numbers", "fingerprint")
"""and for functions that save a state, or tell it from others."""
ROOT = Path(hotplug_model.__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One small mistake in one function."""

    file: str
    """Seen from the package: ``mm/sparse.py``."""
    number: int
    """Which of the mutants of its file."""
    line: int
    """Of the statement; a mutant of a block is reached with its first statement."""
    function: str
    kind: str
    before: str
    after: str

    @property
    def name(self) -> str:
        """``mm/sparse.py#12``."""
        return f"{self.file}#{self.number}"

    @property
    def said(self) -> str:
        """What it alters, wherever that is."""
        return f"{self.kind}: {self.before} -> {self.after}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.said}"


def sources() -> list[str]:
    """Files that are mutated, in order."""
    files = [
        f"{package}/{module.name}.py"
        for package in PACKAGES
        for module in sorted(pkgutil.iter_modules([str(ROOT / package)]), key=lambda m: m.name)
    ]
    return [file for file in files if file not in OF_THE_SEARCH]


def module_of(file: str) -> ModuleType:
    """The module that *file* is."""
    return importlib.import_module(f"hotplug_model.{file.removesuffix('.py').replace('/', '.')}")


def tree_of(file: str) -> ast.Module:
    """The syntax of *file*, to be altered."""
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def mutants() -> list[Mutant]:
    """Every mutant, by file and line."""
    return [mutant for file in sources() for mutant, _ in mutants_of(file)]


@cache
def mutants_of(file: str) -> tuple[tuple[Mutant, Edit], ...]:
    """The mutants of one file, with the edits of :func:`shared_tree` that make them."""
    found: list[tuple[Mutant, Edit]] = []
    for function, definition in definitions(shared_tree(file)):
        if definition.name in COPIES or definition.name.startswith(NOTES):
            continue
        for place in places(definition):
            for kind, edit in edits(place):
                statement, before = place.statement, place.text
                with edit.applied():
                    after = edit.says or first_line(statement)
                line = line_of(edit, statement)
                number = len(found) + 1
                mutant = Mutant(
                    file=file, number=number, line=line, function=function, kind=kind,
                    before=before, after=after,
                )  # fmt: skip
                found.append((mutant, edit))
    return tuple(found)


@cache
def shared_tree(file: str) -> ast.Module:
    """The one tree that edits of *file* alter and restore."""
    return tree_of(file)


def line_of(edit: Edit, statement: ast.stmt) -> int:
    """Where a mutant first makes a difference: a handler, or the statement itself."""
    if isinstance(edit.owner, ast.ExceptHandler) or edit.field == "finalbody":
        return int(getattr(edit.owner, edit.field)[0].lineno)
    return statement.lineno


def definitions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions and methods with their qualified names; what is inside them is theirs."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield f"{node.name}.{inner.name}", inner


def functions(module: ModuleType) -> dict[str, FunctionType]:
    """The functions and methods that a module defines, by qualified name."""
    found: dict[str, FunctionType] = {}
    for value in vars(module).values():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        inner = vars(value).values() if isinstance(value, type) else (value,)
        for function in map(plain, inner):
            if function is not None and function.__module__ == module.__name__:
                found[function.__qualname__] = function
    return found


def plain(value: object) -> FunctionType | None:
    """The function in a property, a class method, a static method or by itself."""
    for attribute in ("fget", "__func__", "__wrapped__"):
        value = getattr(value, attribute, value)
    return value if isinstance(value, FunctionType) else None


def code_of(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    """All code inside *code*, by qualified name."""
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each.co_qualname, each
            yield from code_of(each)


def compiled(file: str, tree: ast.Module) -> dict[str, CodeType]:
    """The code of every function of an altered file."""
    whole = compile(ast.fix_missing_locations(tree), ROOT / file, "exec", dont_inherit=True)
    return dict(code_of(whole))


@contextlib.contextmanager
def running(file: str, names: list[str], code: dict[str, CodeType]) -> Iterator[None]:
    """The functions called *names* run other code, for a while, whoever calls them."""
    found = functions(module_of(file))
    old = {name: found[name].__code__ for name in names}
    try:
        for name in names:
            found[name].__code__ = code[name]
        yield
    finally:
        for name in names:
            found[name].__code__ = old[name]


def mutated(mutant: Mutant) -> dict[str, CodeType]:
    """The code of its file with the mistake in it."""
    _, edit = mutants_of(mutant.file)[mutant.number - 1]
    with edit.applied():
        return compiled(mutant.file, shared_tree(mutant.file))


def is_possible(mutant: Mutant, code: dict[str, CodeType]) -> bool:
    """Whether the function still is a generator if it was one, and needs the same cells."""
    old = functions(module_of(mutant.file))[mutant.function].__code__
    new = code[mutant.function]
    return (old.co_flags, old.co_freevars) == (new.co_flags, new.co_freevars)
