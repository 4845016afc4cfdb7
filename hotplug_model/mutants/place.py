"""Where in a function something can be altered, and the altering of it."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

BODIES = ("body", "orelse", "finalbody")


@dataclass(frozen=True, slots=True)
class Edit:
    """One attribute of one node gets another value."""

    owner: ast.AST
    field: str
    value: object
    says: str = ""
    """What becomes of the statement; empty if its text says so itself."""

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The tree is altered in place, for a while."""
        old = getattr(self.owner, self.field)
        setattr(self.owner, self.field, self.value)
        try:
            yield
        finally:
            setattr(self.owner, self.field, old)


@dataclass(frozen=True, slots=True)
class Place:
    """A statement, and the block of statements that it is in."""

    owner: ast.AST
    field: str
    index: int

    @property
    def block(self) -> list[ast.stmt]:
        """The block."""
        found: list[ast.stmt] = getattr(self.owner, self.field)
        return found

    @property
    def statement(self) -> ast.stmt:
        """The statement."""
        return self.block[self.index]

    @property
    def text(self) -> str:
        """Its first line."""
        return first_line(self.statement)

    def left_out(self) -> Edit:
        """The statement does nothing."""
        block = list(self.block)
        nothing: ast.stmt = ast.Pass()
        if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(self.statement)):
            # Its function stays a generator.
            nothing = ast.Expr(ast.YieldFrom(ast.Tuple([], ast.Load())))
        block[self.index] = ast.copy_location(nothing, self.statement)
        return Edit(self.owner, self.field, block, "left out")

    def swapped(self) -> Edit:
        """The statement comes after the next one."""
        block = list(self.block)
        block[self.index : self.index + 2] = block[self.index : self.index + 2][::-1]
        return Edit(self.owner, self.field, block, f"after {first_line(block[self.index])}")


def first_line(statement: ast.stmt) -> str:
    """Its source, as far as it fits on a line."""
    return ast.unparse(statement).partition("\n")[0]


def places(owner: ast.AST) -> Iterator[Place]:
    """Every statement below *owner*, without docstrings."""
    for field in BODIES:
        for index, statement in enumerate(getattr(owner, field, [])):
            if not is_docstring(statement):
                yield Place(owner, field, index)
            yield from places(statement)
    for inner in getattr(owner, "handlers", []):
        yield from places(inner)


def is_docstring(statement: ast.stmt) -> bool:
    """Whether it is a bare constant."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """Every node of its own expressions: not of statements inside, nor of annotations."""
    for field, value in ast.iter_fields(statement):
        if field not in ("annotation", "returns", "decorator_list", "args", *BODIES, "handlers"):
            yield from nodes(value)


def nodes(value: Any) -> Iterator[ast.AST]:
    """All nodes of an expression, of a list of them, or of nothing."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, ast.AST):
            yield from ast.walk(each)
