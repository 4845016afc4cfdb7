"""The locks of memory hotplug, as state: who holds what, and who waits for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from hotplug_model.errors import ModelError
from hotplug_model.rules import Steps

MEM_HOTPLUG_LOCK = "mem_hotplug_lock"


class Waits(str):
    """Yielded instead of a milestone by an operation that needs what another holds."""

    __slots__ = ()


@dataclass(slots=True)
class Locks:
    """Who holds ``device_hotplug_lock``, ``mem_hotplug_lock`` for writing, and the lock of
    each device; contexts are known by number.

    Locks of devices are called ``memory2 device_lock`` and ``device 0 device_lock``.
    """

    holder: dict[str, int] = field(default_factory=dict)
    waiting: dict[int, str] = field(default_factory=dict)
    """What each context that cannot go on waits for."""
    context: int = 0
    """Who is running."""

    def take(self, name: str) -> Steps:
        """Acquire the lock called *name*; yields :class:`Waits` while another holds it."""
        while name in self.holder:
            if self.holder[name] == self.context:
                raise ModelError(f"{name} is taken twice by one operation")
            self.waiting[self.context] = name
            yield Waits(f"waits for {name}")
        self.waiting.pop(self.context, None)
        self.holder[name] = self.context

    def drop(self, name: str) -> None:
        """Release the lock called *name*."""
        if self.holder.pop(name, None) != self.context:
            raise ModelError(f"{name} is dropped but not held")

    def held_by(self, context: int) -> list[str]:
        """What *context* holds, in the order in which it was taken."""
        return [name for name, holder in self.holder.items() if holder == context]

    @property
    def mem_hotplug(self) -> bool:
        """Whether somebody holds mem_hotplug_lock for writing."""
        return MEM_HOTPLUG_LOCK in self.holder

    @property
    def any_held(self) -> bool:
        """Whether an operation is in flight that holds a lock."""
        return bool(self.holder)

    def copy(self) -> Self:
        """An independent copy."""
        return type(self)(dict(self.holder), dict(self.waiting), self.context)
