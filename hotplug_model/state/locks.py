"""The locks of memory hotplug, as state: who holds what."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from hotplug_model.errors import ModelError


@dataclass(slots=True)
class Locks:
    """``device_hotplug_lock`` and ``mem_hotplug_lock`` held for writing.

    With one operation in flight nobody waits, so taking a held lock is a self-deadlock
    of the model.
    """

    device_hotplug: bool = False
    mem_hotplug: bool = False

    def take(self, name: str) -> None:
        """Acquire the lock called *name*."""
        if getattr(self, name):
            raise ModelError(f"{name} is taken twice by one operation")
        setattr(self, name, True)

    def drop(self, name: str) -> None:
        """Release the lock called *name*."""
        if not getattr(self, name):
            raise ModelError(f"{name} is dropped but not held")
        setattr(self, name, False)

    @property
    def any_held(self) -> bool:
        """Whether an operation is in flight that holds a lock."""
        return self.device_hotplug or self.mem_hotplug

    def copy(self) -> Self:
        """An independent copy."""
        return replace(self)
