"""Properties that are computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class cached_property(Generic[T]):
    """As functools.cached_property, without the lock that 3.11 still takes."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, view: None, owner: type) -> cached_property[T]: ...
    @overload
    def __get__(self, view: object, owner: type) -> T: ...
    def __get__(self, view: object | None, owner: type) -> cached_property[T] | T:
        if view is None:
            return self
        value = view.__dict__[self.compute.__name__] = self.compute(view)
        return value
