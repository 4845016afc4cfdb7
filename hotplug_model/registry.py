"""Named collections filled by importing every module of a package."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Generic, TypeVar

from hotplug_model.errors import ModelError, UserError

T = TypeVar("T")
NEAR = 3
"""Names that may have been meant, at the most."""
MANY = 30
"""More names than these do not fit in a line."""


class Registry(Generic[T]):
    """Insertion-ordered; refuses duplicates; a failed look-up names the nearest."""

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._items: dict[str, T] = {}

    def add(self, name: str, item: T) -> T:
        """Register *item*; a name that is taken is a bug of the caller."""
        if name in self._items:
            raise ModelError(f"{self.noun} {name!r} is already registered")
        self._items[name] = item
        return item

    def discard(self, name: str) -> None:
        """Forget *name*, for tests that register their own."""
        self._items.pop(name, None)

    def __getitem__(self, name: str) -> T:
        try:
            return self._items[name]
        except KeyError:
            raise UserError(unknown(self.noun, name, self._items)) from None

    def __contains__(self, name: str) -> bool:
        return name in self._items

    def names(self) -> list[str]:
        """Every name, in registration order."""
        return list(self._items)

    def items(self) -> list[tuple[str, T]]:
        """Every name with its item, in registration order."""
        return list(self._items.items())

    def __iter__(self) -> Iterator[T]:
        return iter(self._items.values())

    def __len__(self) -> int:
        return len(self._items)


def unknown(noun: str, name: str, known: object) -> str:
    """One line that says *name* is no *noun* and what was probably meant."""
    names = sorted(map(str, known))  # type: ignore[call-overload]
    said = f"no {noun} {name[:60]!r}"
    if near := difflib.get_close_matches(name, names, n=NEAR, cutoff=0.5):
        return f"{said}; did you mean {', '.join(near)}?"
    if len(names) <= MANY:
        return f"{said}; known: {', '.join(names)}"
    near = difflib.get_close_matches(name, names, n=NEAR, cutoff=0)
    return f"{said}; nearest of {len(names)}: {', '.join(near)}"


def import_all(package: str, path: list[str]) -> None:
    """Import every module of *package*, in name order, for its registrations."""
    for module in sorted(pkgutil.iter_modules(path), key=lambda m: m.name):
        importlib.import_module(f"{package}.{module.name}")
