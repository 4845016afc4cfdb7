"""``struct vmem_altmap``: device memory that holds its own memmap."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from hotplug_model.flags import MemmapOrigin


@dataclass(slots=True, kw_only=True)
class Altmap:
    """``struct vmem_altmap`` (include/linux/memremap.h). All fields are pages."""

    base_pfn: int
    reserve: int = 0
    free: int
    align: int = 0
    alloc: int = 0
    end_pfn: int = 0
    """Pfn behind the last of the device, or of the block."""
    self_hosted: bool = False
    """Whether it is a memory block's: memmap_on_memory."""

    @property
    def offset(self) -> int:
        """``vmem_altmap_offset()``: pages before the first that is data."""
        return self.reserve + self.free

    def allocate(self, nr_pages: int) -> int | None:
        """``altmap_alloc_block_buf()``: first pfn, aligned to its own size, or None.

        The alignment loss is charged to ``align`` and never given back.
        """
        pfn = self.base_pfn + self.reserve + self.alloc + self.align
        unit = nr_pages & -nr_pages
        loss = -pfn % unit
        if self.alloc + self.align + nr_pages + loss > self.free:
            return None
        self.align += loss
        self.alloc += nr_pages
        return pfn + loss

    def allocate_each(self, nr_pages: int) -> tuple[int, int]:
        """Up to *nr_pages* single pages, for as long as there is room: how many, and the
        first one's pfn."""
        nr = max(0, min(nr_pages, self.free - self.alloc - self.align))
        pfn = self.base_pfn + self.reserve + self.alloc + self.align
        self.alloc += nr
        return nr, pfn

    @property
    def origin(self) -> MemmapOrigin:
        """What the memmap that it holds is said to come from."""
        return MemmapOrigin.SELF_HOSTED if self.self_hosted else MemmapOrigin.ALTMAP

    def owns(self, pfn: int) -> bool:
        """Whether *pfn* is one that it may have given."""
        return self.base_pfn <= pfn < self.base_pfn + self.offset

    def release(self, nr_pages: int) -> None:
        """``vmem_altmap_free()``."""
        self.alloc -= nr_pages

    def copy(self) -> Self:
        """An independent copy."""
        return replace(self)

    def numbers(self) -> tuple[int, ...]:
        """Every field, for a fingerprint."""
        own = (self.base_pfn, self.end_pfn, self.self_hosted)
        return *own, self.reserve, self.free, self.align, self.alloc
