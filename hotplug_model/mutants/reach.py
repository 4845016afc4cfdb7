"""Which statements of the model a piece of work reaches, however Python is observed."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from types import CodeType
from typing import TypeAlias

from hotplug_model.mutants.place import BODIES, is_docstring
from hotplug_model.mutants.source import (
    compiled,
    definitions,
    functions,
    module_of,
    running,
    sources,
    tree_of,
)

Line: TypeAlias = tuple[str, int]
"""A file and a line in it."""
PROBE = "__reached__"
"""The name under which altered functions know the set of lines."""


@contextlib.contextmanager
def watched() -> Iterator[set[Line]]:
    """Every statement that runs meanwhile is added to the set, by where it begins."""
    reached: set[Line] = set()
    with contextlib.ExitStack() as stack:
        for file in sources():
            module, code = module_of(file), probed(file)
            setattr(module, PROBE, reached)
            stack.callback(delattr, module, PROBE)
            # What dataclass() writes is in no file.
            written = [name for name in functions(module) if name in code]
            stack.enter_context(running(file, written, code))
        yield reached


def probed(file: str) -> dict[str, CodeType]:
    """The code of *file* with a probe in front of each statement."""
    tree = tree_of(file)
    for _, definition in definitions(tree):
        put_probes(definition, file)
    return compiled(file, tree)


def put_probes(owner: ast.AST, file: str) -> None:
    """A probe in front of each statement below *owner*, behind docstrings."""
    for field in BODIES:
        block = getattr(owner, field, [])
        for statement in list(block):
            put_probes(statement, file)
            if not is_docstring(statement):
                block.insert(block.index(statement), probe(file, statement))
    for handler in getattr(owner, "handlers", []):
        put_probes(handler, file)


def probe(file: str, statement: ast.stmt) -> ast.stmt:
    """``__reached__.add((file, line))``."""
    add = ast.Attribute(ast.Name(PROBE, ast.Load()), "add", ast.Load())
    where: list[ast.expr] = [ast.Constant(file), ast.Constant(statement.lineno)]
    call = ast.Call(add, [ast.Tuple(where, ast.Load())], [])
    return ast.copy_location(ast.Expr(call), statement)
