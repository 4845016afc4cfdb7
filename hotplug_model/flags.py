"""Kernel enumerations, spelled and numbered as the kernel has them."""

from __future__ import annotations

from enum import IntEnum, IntFlag


class ZoneType(IntEnum):
    """``enum zone_type`` (include/linux/mmzone.h), numbered as on 64 bits, where there is no
    ZONE_HIGHMEM. Where there is, it lies below ZONE_MOVABLE: see ``ZONES_IN_ORDER``."""

    ZONE_DMA = 0
    ZONE_DMA32 = 1
    ZONE_NORMAL = 2
    ZONE_MOVABLE = 3
    ZONE_DEVICE = 4
    ZONE_HIGHMEM = 5

    @property
    def label(self) -> str:
        """The name that sysfs and /proc/zoneinfo print, e.g. ``DMA32``."""
        name = self.name.removeprefix("ZONE_")
        if self == ZoneType.ZONE_HIGHMEM:
            return "HighMem"
        return name if name.startswith("DMA") else name.capitalize()


ZONES_IN_ORDER = (
    ZoneType.ZONE_DMA, ZoneType.ZONE_DMA32, ZoneType.ZONE_NORMAL, ZoneType.ZONE_HIGHMEM,
    ZoneType.ZONE_MOVABLE, ZoneType.ZONE_DEVICE,
)  # fmt: skip
"""From the lowest to the highest, as ``zone_idx()`` has them with all zones configured."""


class SectionFlag(IntFlag):
    """Low bits of ``mem_section.section_mem_map`` (include/linux/mmzone.h).

    ``USAGE`` is ours: whether ``mem_section.usage`` is set; so are ``MEMMAP`` and ``ASTRAY``,
    of the bits above the low ones, and ``MET_DEVICE``.
    """

    MARKED_PRESENT = 1
    HAS_MEM_MAP = 2
    IS_ONLINE = 4
    IS_EARLY = 8
    TAINT_ZONE_DEVICE = 16
    USAGE = 32
    BOOT_USAGE = 64
    """``usage`` was allocated at boot and is therefore never freed."""
    MEMMAP = 128
    """The upper bits are not all 0: they encode an address."""
    ASTRAY = 256
    """That is not where the memmap is."""
    MET_DEVICE = 512
    """Device memory that does not fill it was mapped into it: what the taint should say."""


TAINTED = SectionFlag.TAINT_ZONE_DEVICE | SectionFlag.MET_DEVICE
SECTION_MEM_MAP = (
    SectionFlag.MARKED_PRESENT
    | SectionFlag.HAS_MEM_MAP
    | SectionFlag.IS_ONLINE
    | SectionFlag.IS_EARLY
    | SectionFlag.MEMMAP
    | SectionFlag.ASTRAY
    | TAINTED
)
"""All that ``section_mem_map`` holds, and what is known of it."""
BOOT_SECTION = (
    SectionFlag.MARKED_PRESENT
    | SectionFlag.HAS_MEM_MAP
    | SectionFlag.IS_ONLINE
    | SectionFlag.IS_EARLY
    | SectionFlag.MEMMAP
    | SectionFlag.USAGE
    | SectionFlag.BOOT_USAGE
)
"""What memory_present() and sparse_init() leave."""


def early_nid_left(nid: int, shift: int) -> int:
    """The flags that a section has for the node of its memory, which ``section_mem_map`` held
    until it held the memmap: the upper bits are overwritten then, the lower ones are not.

    Source: sparse_encode_early_nid(), sparse_init_one_section(), mm/sparse.c.
    """
    return nid << shift & (SectionFlag.USAGE - 1)


class PageFlag(IntFlag):
    """Bits of ``page->flags`` and page types that hotplug cares about.

    ``MANAGED``, ``HOLE``, ``WITHHELD``, ``UNTYPED`` and ``PARKED`` are ours: what is true of the
    page, whatever its flags say.
    """

    PG_reserved = 1
    PG_offline = 2
    PG_vmemmap_self_hosted = 4
    PG_hwpoison = 8
    """Its memory is broken."""
    PG_dirty = 16
    """With PG_offline, virtio-mem's mark for a page that was never online."""
    MANAGED = 32
    """__free_pages_core() gave it to the buddy allocator: managed_pages counts it."""
    HOLE = 64
    """Boot set it up for a pfn behind which no memory is."""
    WITHHELD = 128
    """It went online, and the balloon's driver kept it: the buddy allocator never had it."""
    UNTYPED = 256
    """Nobody has given its pageblock a migratetype."""
    PARKED = 512
    """It is free, on a list of a CPU that nobody empties any more."""
    HUGETLB = 1024
    """``folio_test_hugetlb()``: it is part of a huge page of the pool."""


class PageUser(IntFlag):
    """Who uses a page, each with a bit for the reference that it took on it; without one it
    has the pfn and no more, in the same bit of the upper half."""

    LONGTERM = 1
    """Somebody or other, see the operation ``pin_pages``."""
    VFIO = 2
    KVM = 4
    GASKET = 8
    VFIO_PFN = 32
    KVM_PFN = 64
    GASKET_PFN = 128


REFERENCES = 15
"""Of those the bits that stand for a reference."""
WITHOUT_REFERENCE = 4
"""How much higher the other bit of a user is."""


class PageContent(IntEnum):
    """What the bytes of a struct page are worth."""

    NONE = 0
    """There is no struct page."""
    ZEROED = 1
    """Fresh from the allocator, never initialised."""
    POISONED = 2
    """Overwritten by page_init_poison()."""
    STALE = 3
    """Still says what an owner that is gone once wrote."""
    GARBAGE = 4
    """Whatever the memory that now holds the memmap contained before."""
    INITIALISED = 5
    UNUSED = 6
    """PAGE_UNUSED, 0xFD: marked as not in use inside a huge page that stays mapped."""


class MemmapOrigin(IntEnum):
    """Where the memory that holds a struct page came from."""

    NONE = 0
    BOOT = 1
    """memblock, before there was a buddy allocator."""
    BUDDY = 2
    ALTMAP = 3
    """The device whose memory it describes."""
    SELF_HOSTED = 4
    """The memory block that it describes: memmap_on_memory."""


class MemoryClass(IntEnum):
    """What a pfn with a struct page is: whether the CPU reaches it, and pages can be moved."""

    NONE = 0
    """Nobody added it: a hole, or nothing."""
    SYSTEM_RAM = 1
    ADDRESSABLE = 2
    """Device memory that the CPU reads and writes and that stays where it is, e.g. pmem."""
    UNADDRESSABLE = 3
    """Device memory that it cannot reach, MEMORY_DEVICE_PRIVATE: what is there moves to RAM."""
    MOVABLE = 4
    """Device memory that it reads and writes and that can be moved to RAM as well:
    MEMORY_DEVICE_COHERENT, and HMM's PUBLIC."""


class LinearMap(IntEnum):
    """Whether the kernel's linear map covers a pfn; STRAY and TORN are ours."""

    NONE = 0
    MAPPED = 1
    STRAY = 2
    """Covered, by an add that failed, or must fail because somebody else is there."""
    TORN = 3
    """Not covered any more: the add that failed was undone over somebody else's memory."""
    HIGHMEM = 4
    """Not covered, nor need it be: kmap() maps each page for as long as it is used."""


class MappingLevel(IntEnum):
    """What maps a page of vmemmap."""

    NONE = 0
    PTE = 1
    """A page-table entry: one base page."""
    PMD = 2
    """A huge mapping, of ``Geometry.pmd_shift``."""


class BlockState(IntEnum):
    """``memory_block.state`` (include/linux/memory.h); NONE where no block exists."""

    NONE = 0
    MEM_OFFLINE = 1
    MEM_GOING_ONLINE = 2
    MEM_ONLINE = 3
    MEM_GOING_OFFLINE = 4


class OnlineType(IntEnum):
    """``MMOP_*`` (include/linux/memory_hotplug.h)."""

    MMOP_OFFLINE = 0
    MMOP_ONLINE = 1
    MMOP_ONLINE_KERNEL = 2
    MMOP_ONLINE_MOVABLE = 3

    @property
    def label(self) -> str:
        """What is written to ``memoryN/state``, e.g. ``online_movable``."""
        return self.name.removeprefix("MMOP_").lower()


class MemoryType(IntEnum):
    """``enum memory_type`` (include/linux/memremap.h); the last is gone since v5.3."""

    MEMORY_DEVICE_PRIVATE = 1
    MEMORY_DEVICE_COHERENT = 2
    MEMORY_DEVICE_FS_DAX = 3
    MEMORY_DEVICE_GENERIC = 4
    MEMORY_DEVICE_PCI_P2PDMA = 5
    MEMORY_DEVICE_PUBLIC = 6


class RefState(IntEnum):
    """Life of ``dev_pagemap.ref``, a percpu_ref."""

    LIVE = 1
    KILLED = 2
    GONE = 3


class NotifierAction(IntEnum):
    """Memory notifier actions. Numbers differ by release; compare names only."""

    MEM_ONLINE = 1
    MEM_GOING_OFFLINE = 2
    MEM_OFFLINE = 4
    MEM_GOING_ONLINE = 8
    MEM_CANCEL_ONLINE = 16
    MEM_CANCEL_OFFLINE = 32
    MEM_PREPARE_ONLINE = 64
    MEM_FINISH_OFFLINE = 128


MHP_MEMMAP_ON_MEMORY = 2
"""``mhp_flags`` bit of add_memory() (include/linux/memory_hotplug.h)."""
