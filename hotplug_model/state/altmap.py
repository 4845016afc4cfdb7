"""``struct vmem_altmap``: device memory that holds its own memmap."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self


@dataclass(slots=True, kw_only=True)
class Altmap:
    """``struct vmem_altmap`` (include/linux/memremap.h). All fields are pages."""

    base_pfn: int
    reserve: int = 0
    free: int
    align: int = 0
    alloc: int = 0

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

    def release(self, nr_pages: int) -> None:
        """``vmem_altmap_free()``."""
        self.alloc -= nr_pages

    def copy(self) -> Self:
        """An independent copy."""
        return replace(self)

    def numbers(self) -> tuple[int, ...]:
        """Every field, for a fingerprint."""
        return self.base_pfn, self.reserve, self.free, self.align, self.alloc
