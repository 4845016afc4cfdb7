"""The kinds of mutants: small mistakes of a programmer, each made wherever it can be made.

What only serves the search is left alone: milestones, where nobody but an invariant
looks, the failing of allocations, and what is written down for invariants to judge.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import TypeAlias

from hotplug_model.mutants.place import BODIES, Edit, Place, expressions, is_docstring

Kind: TypeAlias = Callable[[Place], Iterator[Edit]]

NEARLY: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
}  # fmt: skip
OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
RANGES = ("PfnRange", "range")
"""Calls whose last argument, if they have two, is where a range ends."""
MOVABLE = (ast.Expr, ast.Assign, ast.AugAssign)
NOTES = "note_"
"""How the names of functions begin that do nothing but write down."""


def order(place: Place) -> Iterator[Edit]:
    """Two statements that follow one another change places."""
    pair = place.block[place.index : place.index + 2]
    if len(pair) < 2 or not all(isinstance(each, MOVABLE) for each in pair):
        return
    # What an attribute is stands behind it, too.
    if is_docstring(pair[1]):
        return
    silent = all(map(is_milestone, pair)) or all(map(is_local, pair))
    if not (silent or any(map(fails, pair)) or depend(*pair)):
        yield place.swapped()


def left_out(place: Place) -> Iterator[Edit]:
    """A store, a call, a refusal or an early return is missing."""
    statement = place.statement
    if isinstance(statement, ast.Expr):
        if isinstance(statement.value, ast.Call | ast.YieldFrom) and not fails(statement):
            yield place.left_out()
    elif isinstance(statement, ast.Assign):
        if not any(isinstance(target, ast.Name | ast.Tuple) for target in statement.targets):
            yield place.left_out()
    elif isinstance(statement, ast.AugAssign | ast.Raise | ast.Continue) or is_bare(statement):
        yield place.left_out()


def column_left_out(place: Place) -> Iterator[Edit]:
    """A write of several columns forgets one of them."""
    for node in expressions(place.statement):
        if isinstance(node, ast.Call) and called(node) == "write" and len(node.keywords) > 1:
            for each in node.keywords:
                rest = [other for other in node.keywords if other is not each]
                yield Edit(node, "keywords", rest)


def flag(place: Place) -> Iterator[Edit]:
    """A flag is not set, or not cleared."""
    for owner, field, node in operands(place.statement):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            yield replacing(owner, field, node, node.left)
            yield replacing(owner, field, node, node.right)
        elif isinstance(node, ast.BinOp) and clears(node):
            yield replacing(owner, field, node, node.left)


def bound(place: Place) -> Iterator[Edit]:
    """A bound is off by one."""
    for node in expressions(place.statement):
        if isinstance(node, ast.Compare):
            yield from compared(node, NEARLY)
        elif isinstance(node, ast.Call) and called(node) in RANGES and len(node.args) == 2:
            first, end = node.args
            yield Edit(node, "args", [first, ast.BinOp(end, ast.Sub(), ast.Constant(1))])
    for owner, field, node in operands(place.statement):
        if isinstance(node, ast.BinOp) and is_by_one(node):
            yield replacing(owner, field, node, node.left)


def flipped(place: Place) -> Iterator[Edit]:
    """A condition is the opposite of what it should be, or one of two is enough."""
    for node in expressions(place.statement):
        if isinstance(node, ast.Compare):
            yield from compared(node, OPPOSITE)
        elif isinstance(node, ast.BoolOp):
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield Edit(node, "op", other)
    for owner, field, node in operands(place.statement):
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield replacing(owner, field, node, node.operand)
    if isinstance(place.statement, ast.If | ast.While):
        test = place.statement.test
        if isinstance(test, ast.Name | ast.Attribute | ast.Call):
            yield Edit(place.statement, "test", ast.UnaryOp(ast.Not(), test))


def unwind(place: Place) -> Iterator[Edit]:
    """What an error path or a ``finally`` should undo stays done."""
    statement = place.statement
    if not isinstance(statement, ast.Try):
        return
    for handler in statement.handlers:
        if not (len(handler.body) == 1 and isinstance(handler.body[0], ast.Raise)):
            bare = ast.copy_location(ast.Raise(), handler.body[0])
            yield Edit(handler, "body", [bare], f"except {caught(handler)}: raise")
    if statement.finalbody:
        nothing = ast.copy_location(ast.Pass(), statement.finalbody[0])
        yield Edit(statement, "finalbody", [nothing], "finally: pass")


KINDS: dict[str, Kind] = {
    "order": order,
    "left-out": left_out,
    "column": column_left_out,
    "flag": flag,
    "bound": bound,
    "flipped": flipped,
    "unwind": unwind,
}


def edits(place: Place) -> Iterator[tuple[str, Edit]]:
    """Every mistake that can be made in a statement, with its kind."""
    if accuses(place.statement):
        return
    for name, kind in KINDS.items():
        for edit in kind(place):
            yield name, edit


# What statements are and do


def is_milestone(statement: ast.stmt) -> bool:
    """Whether it is where invariants look."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Yield) and isinstance(value.value, ast.Constant)


def is_local(statement: ast.stmt) -> bool:
    """Whether it binds local names and stores nothing."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement]
    return all(isinstance(target, ast.Name | ast.Tuple) for target in targets)


def fails(statement: ast.stmt) -> bool:
    """Whether it is an allocation that may be told to fail."""
    return ".faults." in call_of(statement)


def accuses(statement: ast.stmt) -> bool:
    """Whether it notes that a law of the kernel is broken, or what a breach is blamed on."""
    return ".ledger.breach" in call_of(statement) or call_of(statement).startswith(NOTES)


def call_of(statement: ast.stmt) -> str:
    """What it calls, if it does nothing else."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return ast.unparse(value.func) if isinstance(value, ast.Call) else ""


def is_bare(statement: ast.stmt) -> bool:
    """Whether it returns nothing."""
    return isinstance(statement, ast.Return) and statement.value is None


def clears(node: ast.BinOp) -> bool:
    """Whether it is ``x & ~y``."""
    inverted = isinstance(node.right, ast.UnaryOp) and isinstance(node.right.op, ast.Invert)
    return isinstance(node.op, ast.BitAnd) and inverted


def is_by_one(node: ast.BinOp) -> bool:
    """Whether it is ``x + 1`` or ``x - 1``."""
    one = isinstance(node.right, ast.Constant) and node.right.value == 1
    return isinstance(node.op, ast.Add | ast.Sub) and one


def depend(first: ast.stmt, second: ast.stmt) -> bool:
    """Whether one binds a local name that the other uses."""
    return bool(bound_names(first) & names(second) or bound_names(second) & names(first))


def names(statement: ast.stmt) -> set[str]:
    """Every name that it uses or binds."""
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}


def bound_names(statement: ast.stmt) -> set[str]:
    """Names that it binds."""
    return {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def called(call: ast.Call) -> str:
    """The last word of what is called."""
    return ast.unparse(call.func).rpartition(".")[2]


def caught(handler: ast.ExceptHandler) -> str:
    """What a handler catches."""
    return ast.unparse(handler.type) if handler.type else "everything"


def compared(node: ast.Compare, others: dict[type[ast.cmpop], type[ast.cmpop]]) -> Iterator[Edit]:
    """One of its comparisons is another."""
    for index, op in enumerate(node.ops):
        if type(op) in others:
            ops = list(node.ops)
            ops[index] = others[type(op)]()
            yield Edit(node, "ops", ops)


def operands(statement: ast.stmt) -> Iterator[tuple[ast.AST, str, ast.AST]]:
    """Every expression in it, with the node and the field that hold it."""
    for owner in [statement, *expressions(statement)]:
        for field, value in ast.iter_fields(owner):
            if owner is statement and field in (*BODIES, "handlers", "annotation", "args"):
                continue
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, ast.expr):
                    yield owner, field, each


def replacing(owner: ast.AST, field: str, old: ast.AST, new: ast.AST) -> Edit:
    """*new* stands where *old* stood."""
    value = getattr(owner, field)
    if isinstance(value, list):
        return Edit(owner, field, [new if each is old else each for each in value])
    return Edit(owner, field, new)
