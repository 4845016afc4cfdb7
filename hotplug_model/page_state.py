"""What a page really is, whoever asks: one state a row, and what is true of it.

The state follows from what owns the pfn, from what its struct page is worth, and from
marks that its owner put there. PG_reserved is no part of it: what that flag says of a
page is what the audit is about.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum, auto

import numpy as np
from numpy.typing import NDArray

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import MemoryType, PageFlag
from hotplug_model.pfn import merge_ranges
from hotplug_model.state.resource import SYSTEM_RAM


class PageState(IntEnum):
    """What a page is. Its number is its column in the audit."""

    NO_MEMMAP = 0
    ONLINE = auto()
    BOOT_RESERVED = auto()
    SELF_HOSTED = auto()
    FAKE_OFFLINE = auto()
    WITHHELD = auto()
    HWPOISON = auto()
    ONLINING = auto()
    NEVER_ONLINED = auto()
    WAS_ONLINE = auto()
    OFFLINE_POISONED = auto()
    BOOT_HOLE = auto()
    LEFT_POISONED = auto()
    LEFT_STALE = auto()
    PRIVATE = auto()
    COHERENT = auto()
    FS_DAX = auto()
    GENERIC = auto()
    PCI_P2PDMA = auto()
    ALTMAP_FREE = auto()
    ALTMAP_RESERVE = auto()
    UNFINISHED = auto()


class Decision(Enum):
    """What users of PageReserved() decide about a page."""

    REFCOUNTED = "refcounted"
    """Whether the reference that a mapping took is to be dropped."""
    MMIO = "mmio"
    """Whether it is registers rather than memory: mapped uncached, never encrypted."""
    DIRTIED = "dirtied"
    """Whether PG_dirty means anything to its owner."""
    COPIED = "copied"
    """Whether one object may span it and its neighbour."""
    REMAPPED = "remapped"
    """Whether another mapping of it may be made: nobody else uses it."""
    FLUSHED = "flushed"
    """Whether its struct page may hold the state of the instruction cache: in PG_arch_1, which
    the page allocator clears; a flag of a device's page is its driver's."""
    SAVED = "saved"
    """Whether a hibernation image must hold it."""
    MIGRATED = "migrated"
    """Whether what it holds may be moved elsewhere."""
    UNMAPPED = "unmapped"
    """Whether who maps it is told when its memory breaks."""
    SHOWN = "shown"
    """Whether it counts as memory in statistics and in /proc."""
    BOOTMEM = "bootmem"
    """Whether memblock gave it away, so that it is freed in another way."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What a page in some state is, and of which decisions yes, no, or either is right."""

    what: str
    yes: frozenset[Decision] = frozenset()
    either: frozenset[Decision] = frozenset()
    """Where a wrong answer harms nobody."""
    neither: frozenset[Decision] = frozenset()
    """Where there is no right answer: it should not have been asked."""


def _truth(what: str, yes: str = "", either: str = "", neither: str = "") -> Truth:
    answers = (frozenset(map(Decision, each.split())) for each in (yes, either, neither))
    return Truth(what, *answers)


OFFLINE = "refcounted remapped"
"""RAM that nobody uses may be mapped anew, or not."""
MEMORY = "refcounted flushed"
"""Who maps an allocated page through /dev/mem and holds it a while harms nobody."""
TRUTHS: dict[PageState, Truth] = {
    PageState.NO_MEMMAP: _truth("No memmap at all: nothing, or registers", "mmio"),
    PageState.ONLINE: _truth(
        "Online RAM of the page allocator",
        "refcounted dirtied flushed saved migrated unmapped shown",
    ),
    PageState.BOOT_RESERVED: _truth(
        "RAM that was reserved at boot", "copied remapped bootmem saved", "shown"
    ),
    PageState.SELF_HOSTED: _truth(
        "RAM that holds its own block's memmap", "saved", "shown copied dirtied unmapped " + MEMORY
    ),
    PageState.FAKE_OFFLINE: _truth(
        "Online but kept from the allocator: ballooned, unplugged", "",
        "shown migrated copied remapped unmapped " + MEMORY,
    ),
    PageState.WITHHELD: _truth(
        "Online but never the allocator's: Xen, Hyper-V", "",
        "shown migrated copied remapped unmapped " + MEMORY,
    ),
    PageState.HWPOISON: _truth(
        "RAM that is broken: HWPoison", "",
        "shown migrated dirtied remapped saved unmapped " + MEMORY,
    ),
    PageState.ONLINING: _truth(
        "RAM on its way online or offline", "",
        "refcounted dirtied remapped saved migrated shown flushed unmapped",
    ),
    PageState.NEVER_ONLINED: _truth("Offline RAM, memmap as when added", "", OFFLINE),
    PageState.WAS_ONLINE: _truth("Offline RAM, memmap of when it was online", "", OFFLINE),
    PageState.OFFLINE_POISONED: _truth("Offline RAM, memmap poisoned", "", OFFLINE),
    PageState.BOOT_HOLE: _truth("Hole in an early section", "mmio", "shown"),
    PageState.LEFT_POISONED: _truth("Nobody's: memmap left poisoned", "mmio"),
    PageState.LEFT_STALE: _truth("Nobody's: memmap left stale", "mmio"),
    PageState.PRIVATE: _truth("ZONE_DEVICE: device-private"),
    PageState.COHERENT: _truth("ZONE_DEVICE: device-coherent", "copied", "dirtied " + MEMORY),
    PageState.FS_DAX: _truth("ZONE_DEVICE: fs-dax", "refcounted copied"),
    PageState.GENERIC: _truth("ZONE_DEVICE: generic, device-dax", "refcounted copied"),
    PageState.PCI_P2PDMA: _truth("ZONE_DEVICE: PCI peer-to-peer", "mmio copied", "refcounted"),
    PageState.ALTMAP_FREE: _truth("Altmap: device memory that holds memmap", neither="bootmem"),
    PageState.ALTMAP_RESERVE: _truth("Altmap: reserved for the driver"),
    PageState.UNFINISHED: _truth("Added for a device, not initialised", "", "mmio"),
}  # fmt: skip
"""In the order of the columns of the audit."""

DEVICE_STATES = {
    MemoryType.MEMORY_DEVICE_PRIVATE: PageState.PRIVATE,
    MemoryType.MEMORY_DEVICE_COHERENT: PageState.COHERENT,
    MemoryType.MEMORY_DEVICE_FS_DAX: PageState.FS_DAX,
    MemoryType.MEMORY_DEVICE_GENERIC: PageState.GENERIC,
    MemoryType.MEMORY_DEVICE_PCI_P2PDMA: PageState.PCI_P2PDMA,
    MemoryType.MEMORY_DEVICE_PUBLIC: PageState.COHERENT,
}
"""What memory of a device is by its type; what was public would be coherent today."""
MARKS = (
    (PageFlag.PG_vmemmap_self_hosted, PageState.SELF_HOSTED),
    (PageFlag.PG_offline, PageState.FAKE_OFFLINE),
    (PageFlag.WITHHELD, PageState.WITHHELD),
    (PageFlag.PG_hwpoison, PageState.HWPOISON),
)
"""What the owner of online RAM may mark; the last mark that is there counts."""


def page_states(x: Extents) -> NDArray[np.int64]:
    """(nr_extents,): the :class:`PageState` of each row; computed once a view."""
    return x.remember("page_states", lambda: states_of(x))


def states_of(x: Extents) -> NDArray[np.int64]:
    """page_states(), computed."""
    states = np.full(len(x.start_pfn), int(PageState.NO_MEMMAP))
    ram = system_ram(x)
    for rows, state in (*left(x), *device(x)):
        states[rows & ~ram] = state
    for rows, state in offline_ram(x):
        states[rows & ram] = state
    for rows, state in online_ram(x):
        states[rows & ram] = state
    return states


def system_ram(x: Extents) -> ExtentMask:
    """Rows that are System RAM and nothing else."""

    def compute() -> ExtentMask:
        rows = np.zeros(len(x.start_pfn), bool)
        for pfns in merge_ranges(x.kernel.iomem.named(SYSTEM_RAM)):
            rows |= (x.start_pfn >= pfns.start_pfn) & (x.end_pfn <= pfns.end_pfn)
        return rows

    return x.remember("system_ram", compute)


def left(x: Extents) -> list[tuple[ExtentMask, PageState]]:
    """Struct pages that stayed when the pfn's owner went, or that never had one."""
    there = x.mapped & x.has_mem_map & (x.is_early | x.subsection)
    poisoned = x.poisoned
    # A hole that offlining and onlining gave to the buddy allocator is still one.
    hole = x.initialised & ~x.is_zone_device & x.is_early
    return [
        (there, PageState.LEFT_STALE),
        (there & poisoned, PageState.LEFT_POISONED),
        (there & hole, PageState.BOOT_HOLE),
    ]


def device(x: Extents) -> list[tuple[ExtentMask, PageState]]:
    """Pages that a dev_pagemap claims."""
    claimed = x.subsection & (x.pgmap_array >= 0) | x.is_zone_device & x.subsection
    found = [(claimed & ~x.initialised, PageState.UNFINISHED)]
    found.append((claimed & x.is_zone_device, PageState.ALTMAP_FREE))
    for pgmap_id, pgmap in x.kernel.pgmaps.items():
        mine = claimed & (x.pgmap_array == pgmap_id)
        if pgmap.altmap is not None and pgmap.altmap.reserve:
            end = pgmap.altmap.base_pfn + pgmap.altmap.reserve
            inside = (x.start_pfn >= pgmap.altmap.base_pfn) & (x.end_pfn <= end)
            found.append((mine & ~x.initialised & inside, PageState.ALTMAP_RESERVE))
        data = claimed & x.is_zone_device & (x.page_pgmap == pgmap_id)
        found.append((data, DEVICE_STATES[pgmap.type]))
    return found


def offline_ram(x: Extents) -> list[tuple[ExtentMask, PageState]]:
    """System RAM of which no walker may see a page."""
    added = x.subsection & x.has_mem_map
    in_flight = x.kernel.locks.mem_hotplug
    # Offlining leaves no reference to a page, unless to one that is broken.
    referenced = (x.refcount > 0) & ~x.page_has(PageFlag.PG_hwpoison)
    fresh = np.where(x.initialised, referenced, ~x.stale)
    return [
        (added, PageState.WAS_ONLINE),
        (added & fresh, PageState.NEVER_ONLINED),
        (added & x.poisoned, PageState.OFFLINE_POISONED),
        (added & x.initialised & in_flight, PageState.ONLINING),
    ]


def online_ram(x: Extents) -> list[tuple[ExtentMask, PageState]]:
    """System RAM that is online, by whom it belongs to."""
    online = x.subsection & x.initialised & x.section_has_online & ~x.is_zone_device
    kept = x.is_early & ~x.is_managed
    found = [(online, PageState.ONLINE), (online & kept, PageState.BOOT_RESERVED)]
    found += [(online & x.page_has(mark), state) for mark, state in MARKS]
    return found
