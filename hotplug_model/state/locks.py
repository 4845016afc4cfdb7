"""The locks of memory hotplug, as state: who holds what, and who waits for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from hotplug_model.errors import ModelError
from hotplug_model.rules import Steps

MEM_HOTPLUG_LOCK = "mem_hotplug_lock"
DEVICE_HOTPLUG_LOCK = "device_hotplug_lock"


class Waits(str):
    """Yielded instead of a milestone by an operation that needs what another holds."""

    __slots__ = ()


def zone_lock(nid: int, zone: int) -> str:
    """``zone->lock``, of which only is known who walks the zone under it."""
    return f"zone->lock of node {nid}, zone {zone}"


@dataclass(slots=True)
class Locks:
    """Who holds ``device_hotplug_lock``, ``mem_hotplug_lock`` for writing, and the lock of
    each device; contexts are known by number.

    Locks of devices are called ``memory2 device_lock`` and ``device 0 device_lock``. What
    several may hold at once and somebody may wait for is shared: ``mem_hotplug_lock`` for
    reading, ``pgmap 0 references``, ``rcu_read_lock``.
    """

    holder: dict[str, int] = field(default_factory=dict)
    waiting: dict[int, str] = field(default_factory=dict)
    """What each context that cannot go on waits for."""
    context: int = 0
    """Who is running."""
    shared: dict[str, frozenset[int]] = field(default_factory=dict)
    """Who holds what others may hold as well; nobody is left out."""

    def take(self, name: str) -> Steps:
        """Acquire the lock called *name*; yields :class:`Waits` while another holds it."""
        while name in self.holder or name in self.shared:
            if self.context in self.blockers(name):
                raise ModelError(f"{name} is taken twice by one operation")
            yield self.wait_for(name)
        self.waiting.pop(self.context, None)
        self.holder[name] = self.context

    def take_shared(self, name: str) -> Steps:
        """Hold *name* beside others; yields :class:`Waits` while somebody has it alone."""
        while name in self.holder:
            yield self.wait_for(name)
        self.waiting.pop(self.context, None)
        self.shared[name] = self.shared.get(name, frozenset()) | {self.context}

    def drain(self, name: str) -> Steps:
        """Wait until nobody shares *name*."""
        while name in self.shared:
            yield self.wait_for(name)
        self.waiting.pop(self.context, None)

    def wait_for(self, name: str) -> Waits:
        """What a context yields that cannot go on."""
        self.waiting[self.context] = name
        return Waits(f"waits for {name}")

    def drop(self, name: str) -> None:
        """Release the lock called *name*."""
        if self.holder.pop(name, None) != self.context:
            raise ModelError(f"{name} is dropped but not held")

    def drop_shared(self, name: str) -> None:
        """Hold *name* no longer beside others."""
        if self.context not in self.shared.get(name, ()):
            raise ModelError(f"{name} is dropped but not held")
        left = self.shared.pop(name) - {self.context}
        if left:
            self.shared[name] = left

    def blockers(self, name: str) -> frozenset[int]:
        """Who has to let go of *name* before somebody else can have it alone."""
        return frozenset([self.holder[name]]) if name in self.holder else self.shared[name]

    def held_by(self, context: int) -> list[str]:
        """What *context* holds, in the order in which it was taken."""
        alone = [name for name, holder in self.holder.items() if holder == context]
        return alone + [name for name, holders in self.shared.items() if context in holders]

    @property
    def mem_hotplug(self) -> bool:
        """Whether somebody holds mem_hotplug_lock for writing."""
        return MEM_HOTPLUG_LOCK in self.holder

    @property
    def of_hotplug(self) -> bytes:
        """Which of the two big locks somebody has alone: what keeps walkers away."""
        return bytes(name in self.holder for name in (MEM_HOTPLUG_LOCK, DEVICE_HOTPLUG_LOCK))

    @property
    def any_held(self) -> bool:
        """Whether an operation is in flight that holds a lock."""
        return bool(self.holder or self.shared)

    def place(self) -> tuple[object, ...]:
        """Who holds what: equal if it decides equally how things go on."""
        shared = sorted((name, *sorted(holders)) for name, holders in self.shared.items())
        return tuple(sorted(self.holder.items())), tuple(shared)

    def copy(self) -> Self:
        """An independent copy."""
        return type(self)(
            dict(self.holder), dict(self.waiting), self.context, dict(self.shared)
        )
