"""Memory blocks, the unit of online and offline: ``struct memory_block``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from hotplug_model.flags import BlockState, OnlineType, ZoneType
from hotplug_model.state.altmap import Altmap


@dataclass(slots=True, kw_only=True)
class MemoryBlock:
    """``struct memory_block`` (include/linux/memory.h)."""

    nid: int
    state: BlockState
    online_type: OnlineType = OnlineType.MMOP_OFFLINE
    zone: ZoneType | None = None
    """Cached zone of an online block; None if it has none or several."""
    altmap: Altmap | None = None
    """Set if the block holds its own memmap (memmap_on_memory)."""
    left_offline: bool = False
    """Whether it went offline on the way to a removal that failed, and could not be put
    online again. Ours: the kernel only warns.
    """

    broken: tuple[int, ...] = ()
    """Which of its pages broke, counted from its first, in order; ``nr_hwpoison`` counts
    them. Broken memory stays broken, and leaves with the block's device."""
    references: int = 0
    """References on its device that somebody took and has not dropped yet, but for the one
    of its registration."""

    @property
    def nr_vmemmap_pages(self) -> int:
        """Pages at the start of the block that hold its memmap."""
        return self.altmap.alloc if self.altmap else 0

    def copy(self) -> Self:
        """An independent copy."""
        return type(self)(
            nid=self.nid,
            state=self.state,
            online_type=self.online_type,
            zone=self.zone,
            altmap=self.altmap.copy() if self.altmap else None,
            left_offline=self.left_offline,
            broken=self.broken,
            references=self.references,
        )

    def numbers(self) -> tuple[int, ...]:
        """Every field, for a fingerprint."""
        zone = -1 if self.zone is None else self.zone
        altmap = self.altmap.numbers() if self.altmap else ()
        own = (
            self.nid, self.state, self.online_type, zone, self.left_offline, self.references
        )  # fmt: skip
        return *own, len(self.broken), *self.broken, len(altmap), *altmap
