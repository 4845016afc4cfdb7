"""How hard the profiles look and what they must see: ``[tool.hotplug-model]``.

The nearest ``pyproject.toml`` that has this table, from the working directory upwards, is
read; what it leaves open is as below, and where there is none all is.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from hotplug_model.errors import UserError
from hotplug_model.registry import unknown

TABLE = "hotplug-model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What a whole check must have seen: shares, from 0, which asks for nothing, to 1."""

    effective: float = 0.0
    """Of the steps drawn, those that changed something or were refused."""
    operations: float = 0.0
    """Of the operations, those that were carried out once."""
    refusals: float = 0.0
    """Of the errnos that operations are known to return, those that they did."""
    milestones: float = 0.0
    """Of the milestones that operations are known to pass, those that they did."""
    pairs: float = 0.0
    """Of the ordered pairs of operations, those that followed one another."""
    sometimes: float = 0.0
    """Of the ``sometimes`` properties, those that were true once."""


NO_FLOOR = Floor()
WHOLE = Floor(
    effective=0.95, operations=1.0, refusals=1.0, milestones=1.0, pairs=1.0, sometimes=1.0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How hard to look."""

    examples: int = 400
    """Machines that ``check`` boots at the most."""
    steps: int = 30
    """Operations on each."""
    test_examples: int = 40
    """Machines that a state machine test of pytest boots."""
    test_steps: int = 25
    floor: Floor = NO_FLOOR
    """What ``check`` must have seen of mainline at the tiny geometry."""


PROFILES: dict[str, Profile] = {
    "dev": Profile(),
    "ci": Profile(
        examples=2000, steps=40, test_examples=100, test_steps=40, floor=WHOLE
    ),
    "nightly": Profile(
        examples=40_000, steps=60, test_examples=5000, test_steps=60, floor=WHOLE
    ),
}  # fmt: skip
"""The profiles that there are without any ``pyproject.toml``."""


def profiles(start: Path | None = None) -> dict[str, Profile]:
    """Every profile, as the ``pyproject.toml`` above *start* has it.

    :class:`UserError` for a file that cannot be read, a key that does not exist and a
    value that cannot be.
    """
    for path in candidates(start or Path.cwd()):
        table = read_table(path)
        if table is not None:
            try:
                return merged(table)
            except UserError as error:
                raise UserError(f"{path}: {error}") from None
    return dict(PROFILES)


def candidates(start: Path) -> Iterator[Path]:
    """Every ``pyproject.toml`` from *start* upwards."""
    paths = (directory / "pyproject.toml" for directory in (start, *start.parents))
    return (path for path in paths if path.is_file())


def read_table(path: Path) -> object:
    """The project's table in *path*; None if it has none."""
    try:
        tool = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
    except OSError as error:
        raise UserError(f"{path}: cannot read it: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: not TOML: {error}"[:200]) from None
    return tool.get(TABLE) if isinstance(tool, dict) else None


def merged(table: object) -> dict[str, Profile]:
    """The built-in profiles with what *table* says laid over them."""
    where = f"tool.{TABLE}"
    given = table_of(table, where, {"profiles"}).get("profiles", {})
    found = dict(PROFILES)
    for name, keys in table_of(given, f"{where}.profiles").items():
        base = PROFILES.get(name, Profile())
        found[name] = overlaid(base, keys, f"{where}.profiles.{name}")
    return found


T = TypeVar("T", Profile, Floor)


def overlaid(base: T, table: object, where: str) -> T:
    """*base* with the values of *table*."""
    known = {field.name for field in fields(base)}
    changed: dict[str, Any] = {}
    for key, value in table_of(table, where, known).items():
        before = getattr(base, key)
        if isinstance(before, Floor):
            changed[key] = overlaid(before, value, f"{where}.{key}")
        elif isinstance(before, float):
            changed[key] = share(value, f"{where}.{key}")
        else:
            changed[key] = number(value, f"{where}.{key}")
    return replace(base, **changed)


def table_of(value: object, where: str, known: set[str] | None = None) -> dict[str, object]:
    """*value*, if it is a table that has no key but the *known* ones."""
    if not isinstance(value, dict):
        raise UserError(f"[{where}]: expected a table, found {value!r}"[:200])
    for key in value if known is not None else ():
        if key not in (known or ()):
            raise UserError(f"[{where}]: {unknown('key', key, known)}")
    return value


def share(value: object, where: str) -> float:
    """A share that a floor asks for."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"{where}: expected a share from 0 to 1, found {value!r}"[:200])
    return float(value)


def number(value: object, where: str) -> int:
    """A number of examples or steps."""
    if type(value) is not int or not 0 < value < 1 << 40:
        raise UserError(f"{where}: expected a positive number, found {value!r}"[:200])
    return value
