"""Allocations that operations make, and the one that is told to fail."""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from hotplug_model.errors import KernelRefusal, UserError
from hotplug_model.registry import unknown


class Allocation(Enum):
    """What an operation may ask for and not get. The value is its name in a trace."""

    RESOURCE = "resource"
    """``struct resource`` of a new region."""
    USAGE = "usage"
    """``struct mem_section_usage``."""
    VMEMMAP_PAGE = "vmemmap_page"
    """A base page of struct pages."""
    VMEMMAP_HUGE = "vmemmap_huge"
    """A huge page of struct pages."""
    PAGE_TABLE = "page_table"
    """A page of PTEs that map vmemmap."""
    ALTMAP = "altmap"
    """The copy of the altmap that a memory block keeps."""
    MEMORY_BLOCK = "memory_block"
    """``struct memory_block`` and the registration of its device."""
    NOTIFIER = "notifier"
    """What a memory notifier allocates before memory goes online or offline."""
    PGMAP_ARRAY = "pgmap_array"
    """A node of the xarray that finds maps by pfn."""
    PERCPU_REF = "percpu_ref"
    """The counters of a map's reference."""
    LINEAR_MAP = "linear_map"
    """Page tables of the linear map, where an architecture may fail to map."""
    VIRTQUEUE = "virtqueue"
    """Room for a request to the hypervisor."""
    MEMBLOCK_REGIONS = "memblock_regions"
    """Room for one more region of ``memblock.memory``."""


@dataclass(slots=True)
class Faults:
    """Counts the allocations of the operation in flight and fails one of them."""

    fail_at: tuple[Allocation, int] | None = None
    """Which allocation of which kind fails, counted from 0."""
    made: Counter[Allocation] = field(default_factory=Counter)

    def arm(self, fail_at: str | None) -> None:
        """Start an operation in which *fail_at*, e.g. ``vmemmap_page:3``, fails."""
        self.fail_at = None if fail_at is None else parse(fail_at)
        self.made.clear()

    @property
    def failed(self) -> Allocation | None:
        """What could not be had; None if nothing was to fail, or it was never asked for."""
        if self.fail_at is None:
            return None
        kind, nth = self.fail_at
        return kind if self.made[kind] > nth else None

    def allocate(self, kind: Allocation) -> None:
        """Allocate one. Refuses with -ENOMEM if it is the one to fail."""
        if self.grant(kind, 1) == 0:
            raise KernelRefusal(errno.ENOMEM)

    def grant(self, kind: Allocation, nr: int) -> int:
        """Allocate *nr* one by one; how many there were before one failed."""
        before = self.made[kind]
        self.made[kind] += nr
        if self.fail_at is None or self.fail_at[0] != kind:
            return nr
        failing = self.fail_at[1] - before
        return failing if 0 <= failing < nr else nr


def parse(text: str) -> tuple[Allocation, int]:
    """``kind`` or ``kind:nth``, as a trace has it; else :class:`UserError`."""
    name, _, nth = text.partition(":")
    kinds = {kind.value: kind for kind in Allocation}
    if name not in kinds:
        raise UserError("fail_at: " + unknown("allocation", name, kinds))
    number = int(nth) if nth.isascii() and nth.isdigit() and len(nth) < 8 else 0
    if text != spell(kinds[name], number) or number >= 1 << 20:
        raise UserError(f"fail_at: {text[:40]!r} must end in a number from 1 to {(1 << 20) - 1}")
    return kinds[name], number


def spell(kind: Allocation, nth: int) -> str:
    """What :func:`parse` reads."""
    return f"{kind.value}:{nth}" if nth else kind.value
