"""``struct dev_pagemap``: a driver's claim on device memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from hotplug_model.flags import MemoryClass, MemoryType, RefState
from hotplug_model.pfn import PfnRange
from hotplug_model.state.altmap import Altmap

if TYPE_CHECKING:
    from hotplug_model.rules import KernelRules

CLASSES = {
    MemoryType.MEMORY_DEVICE_PRIVATE: MemoryClass.UNADDRESSABLE,
    MemoryType.MEMORY_DEVICE_COHERENT: MemoryClass.MOVABLE,
    MemoryType.MEMORY_DEVICE_FS_DAX: MemoryClass.ADDRESSABLE,
    MemoryType.MEMORY_DEVICE_GENERIC: MemoryClass.ADDRESSABLE,
    MemoryType.MEMORY_DEVICE_PCI_P2PDMA: MemoryClass.ADDRESSABLE,
    MemoryType.MEMORY_DEVICE_PUBLIC: MemoryClass.MOVABLE,
}
"""Of each type what its memory is.

Source: enum memory_type in include/linux/memremap.h; migrate_vma_collect_pmd() in
mm/migrate_device.c (6.1).
"""


def has_type(rules: KernelRules, kind: MemoryType) -> bool:
    """Whether a map may be of this type.

    # Simplified: MEMORY_DEVICE_FS_DAX and MEMORY_DEVICE_GENERIC, by these names of 4.17 and
    5.10, stand for what their drivers mapped before.
    """
    return {
        MemoryType.MEMORY_DEVICE_PRIVATE: rules.device_private,
        MemoryType.MEMORY_DEVICE_PUBLIC: rules.device_public,
        MemoryType.MEMORY_DEVICE_PCI_P2PDMA: rules.device_p2pdma,
        MemoryType.MEMORY_DEVICE_COHERENT: rules.device_coherent,
    }.get(kind, True)


def references_of(pgmap_id: int) -> str:
    """What get_dev_pagemap() takes, as something that several share."""
    return f"pgmap {pgmap_id} references"


@dataclass(slots=True, kw_only=True)
class DevPagemap:
    """``struct dev_pagemap`` (include/linux/memremap.h)."""

    ranges: tuple[PfnRange, ...]
    type: MemoryType
    nid: int
    altmap: Altmap | None = None
    vmemmap_shift: int = 0
    """Order of its compound pages."""
    nr_range: int = 0
    """Ranges mapped so far; memunmap_pages() undoes just these."""
    nr_added: int = 0
    """Ranges whose pages were added; ahead of ``nr_range`` while they are initialised.

    Ours: in the kernel only pagemap_range()'s program counter knows.
    """
    ref: RefState = RefState.LIVE
    nr_refs: int = 1
    """References held on ``ref``: the initial one and one a data page, compound or not."""

    def pfn_first(self, range_id: int) -> int:
        """``pfn_first()``: first pfn behind the altmap."""
        start = self.ranges[range_id].start_pfn
        return start if range_id or self.altmap is None else start + self.altmap.offset

    def pfn_len(self, range_id: int) -> int:
        """``pfn_len()``: data pages of a range, a compound one counted once."""
        return self.ranges[range_id].end_pfn - self.pfn_first(range_id) >> self.vmemmap_shift

    def range_with(self, pfn: int) -> int | None:
        """``pgmap_pfn_valid()``: the range whose data *pfn* is. What pagemap_range() is still at
        is none yet, and what an altmap keeps for itself never."""
        for range_id, pfns in enumerate(self.ranges[: self.nr_range]):
            if self.pfn_first(range_id) <= pfn < pfns.end_pfn:
                return range_id
        return None

    @property
    def vmemmap_nr(self) -> int:
        """``pgmap_vmemmap_nr()``: pages in a compound page."""
        return 1 << self.vmemmap_shift

    @property
    def memory_class(self) -> MemoryClass:
        """Whether the CPU reaches its memory, and pages can be moved."""
        return CLASSES[self.type]

    @property
    def counts_pages(self) -> bool:
        """Whether each page holds a reference on the map (not device-private ones)."""
        return self.type not in (
            MemoryType.MEMORY_DEVICE_PRIVATE,
            MemoryType.MEMORY_DEVICE_COHERENT,
        )

    def idle_ref(self, rules: KernelRules) -> int:
        """At which count a page of the map rests, that nobody uses.

        Source: __init_zone_device_page() in mm/mm_init.c; free_zone_device_page() in
        mm/memremap.c (6.1).
        """
        if not self.counts_pages:
            return rules.idle_device_private_ref
        if self.type == MemoryType.MEMORY_DEVICE_FS_DAX:
            return rules.idle_fs_dax_ref
        return rules.idle_p2pdma_ref if self.type == MemoryType.MEMORY_DEVICE_PCI_P2PDMA else 1

    def copy(self) -> Self:
        """An independent copy."""
        return replace(self, altmap=self.altmap.copy() if self.altmap else None)

    def numbers(self) -> tuple[int, ...]:
        """Every field, for a fingerprint."""
        ranges = [n for pfns in self.ranges for n in (pfns.start_pfn, pfns.end_pfn)]
        altmap = self.altmap.numbers() if self.altmap else ()
        progress = (self.nr_range, self.nr_added, self.ref, self.nr_refs)
        own = (self.type, self.nid, self.vmemmap_shift)
        return *own, *progress, len(altmap), *altmap, len(ranges), *ranges
