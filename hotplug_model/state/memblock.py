"""``memblock.memory``: the array of regions that boot leaves, and what is asked of it.

Ranges are whatever a caller uses throughout: pages in the tests, bytes in a kernel.
Architectures with ARCH_DISCARD_MEMBLOCK, today those without ARCH_KEEP_MEMBLOCK, throw
the array away after boot; in the model it has no memory then.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

INIT_MEMBLOCK_REGIONS = 1 << 7
"""Slots of the array that the kernel is built with: 128."""
NUMA_NO_NODE = -1
"""Node of a region that was added without one; MAX_NUMNODES in kernels before v6.8."""
BASE, END, FLAGS, NID = range(4)


class MemblockFlag(IntFlag):
    """``enum memblock_flags`` (include/linux/memblock.h), as the posted patch leaves it.

    0x8 is MEMBLOCK_DRIVER_MANAGED today: the patch was never merged.
    """

    MEMBLOCK_HOTPLUG = 1
    MEMBLOCK_MIRROR = 2
    MEMBLOCK_NOMAP = 4
    MEMBLOCK_UNUSED_VMEMMAP = 8


class Region(NamedTuple):
    """``struct memblock_region``: ``[base, end)``, *flags* MemblockFlag bits."""

    base: int
    end: int
    flags: int
    nid: int


def _column(index: int, doc: str) -> property:
    def get(self: Memblock) -> NDArray[np.int64]:
        return self.regions[:, index]

    return property(get, doc=doc)

ARCH_KEEP_MEMBLOCK = frozenset({"arm64", "powerpc", "s390"})
"""Architectures that still have ``memblock.memory`` after boot."""


@dataclass(slots=True, eq=False)
class Memblock:
    """``struct memblock_type``: regions in order, disjoint, in the first *cnt* slots.

    As in the kernel, *cnt* is never 0: an array without memory has one empty region. A
    region that leaves makes the others move up, and the last slot keeps its old content:
    what lies behind *cnt* is zero, or stale.

    Source: struct memblock_type, struct memblock (mm/memblock.c).
    """

    regions: NDArray[np.int64]
    """(max, 4): base, end, flags, nid."""
    cnt: int = 1

    base = _column(BASE, "(max,): where each region starts.")
    end = _column(END, "(max,): where each ends; the kernel stores sizes instead.")
    flags = _column(FLAGS, "(max,): MemblockFlag bits.")
    nid = _column(NID, "(max,): nodes.")

    @classmethod
    def empty(cls, max: int = INIT_MEMBLOCK_REGIONS) -> Self:
        """An array of *max* slots without memory."""
        return cls(np.zeros((max, NID + 1), np.int64))

    @property
    def max(self) -> int:
        """Slots. Fixed, for growing needs memory: see hotplug_model.mm.memblock."""
        return len(self.regions)

    @property
    def is_empty(self) -> bool:
        """Whether the only region is the empty one."""
        return self.region(0).end == self.region(0).base

    def region(self, idx: int) -> Region:
        """What slot *idx* holds, known memory or not."""
        return Region(*self.regions[idx].tolist())

    def known(self) -> list[Region]:
        """The regions of memory, in order."""
        return [] if self.is_empty else [Region(*row) for row in self.regions[: self.cnt].tolist()]

    def copy(self) -> Self:
        """An independent copy."""
        return type(self)(self.regions.copy(), self.cnt)

    def numbers(self, stale: bool = True) -> tuple[int, ...]:
        """*cnt*, *max* and every slot up to the last non-zero one, for a fingerprint.

        *stale* slots belong to it where the posted query may read them.
        """
        written = np.flatnonzero(self.regions.any(axis=1))
        nr_slots = int(written[-1]) + 1 if len(written) else 0
        nr_slots = nr_slots if stale else self.cnt
        return self.cnt, self.max, *self.regions[:nr_slots].ravel().tolist()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedVmemmapQuery:
    """What the posted helpers of MEMBLOCK_UNUSED_VMEMMAP get wrong, one field a fault.

    True, the default, is the corrected behaviour.

    Source: "[PATCH v2 3/5] mm: memory_hotplug: memblock to track partially removed
    vmemmap mem", linux-mm, November 2017.
    """

    honours_type: bool = True
    """Whether every region comes from the array asked about, not just the first."""
    checks_search: bool = True
    """Whether a search that found nothing is noticed; else its -1 is used as an index."""
    stops_at_cnt: bool = True
    """Whether the walk ends with the last region; else it runs into the slots behind."""
    checks_coverage: bool = True
    """Whether what no region holds is in use; else a gap counts as unused."""
    checks_errors: bool = True
    """Whether a refused mark or clear stops its caller; the posted callers drop the errno.

    Source: mark_n_free_pmd_vmemmap(), vmemmap_populate(), "[PATCH v2 5/5] mm:
    memory-hotplug: Add memory hot remove support for arm64", in the same series.
    """


CORRECTED = UnusedVmemmapQuery()
POSTED = UnusedVmemmapQuery(
    honours_type=False,
    checks_search=False,
    stops_at_cnt=False,
    checks_coverage=False,
    checks_errors=False,
)
"""Every fault, as in the thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedVmemmap:
    """How arm64 knows when a mapping of vmemmap that several adds share may go.

    One field is one thing to get right; the defaults are right. To try a fix of one's
    own, replace() the field and run the checker.

    Source: "[PATCH v2 3/5] mm: memory_hotplug: memblock to track partially removed
    vmemmap mem" and "[PATCH v2 5/5] mm: memory-hotplug: Add memory hot remove support
    for arm64", linux-mm, November 2017; the callers are in the latter.
    """

    decided_by: str = "marks"
    """What tells that nothing of a mapping is in use: ``marks`` in memblock, as posted,
    or the ``section_map``, as Robin Murphy asked in the thread."""
    helpers: UnusedVmemmapQuery = CORRECTED
    """What mm/memblock.c gets right."""
    marks_unpopulated: bool = True
    """Whether what a new mapping has room for, but nobody populates, is marked.

    Source: mark_n_free_pmd_vmemmap(), vmemmap_populate() in "[PATCH v2 5/5] ...": marks
    are made at removal only.
    """
    clears_reused: bool = True
    """Whether a part that comes into use again, or for the first time, is unmarked.

    Source: vmemmap_populate() in "[PATCH v2 5/5] ...", which does so.
    """
    clears_freed: bool = True
    """Whether a mapping that is found unused is unmarked when it is freed.

    Source: mark_n_free_pmd_vmemmap() in "[PATCH v2 5/5] ...", which does so.
    """
    clears_only_the_part: bool = True
    """Whether of a base page only the part is unmarked that comes into use.

    Source: vmemmap_populate() without ARM64_SWAPPER_USES_SECTION_MAPS in "[PATCH v2 5/5]
    ...": it clears PAGE_SIZE from where each page starts, of new pages too.
    """
    shares_ram_only: bool = True
    """Whether a mapping of which only a part is used never is an altmap's memory.

    Source: inferred. arm64 took nothing from an altmap in 2017, and does since "arm64/mm:
    enable vmem_altmap support for vmemmap mappings" (in v5.9).
    """
    memblock_knows: str = "everything"
    """Of the RAM that vmemmap is allocated from: ``everything``, ``nothing`` because
    memblock was discarded, or all but ``gaps``.

    # Simplified: no kernel is known to have gaps. The second half of each huge page is
    one, so that a gap can be seen to matter.

    Source: ARCH_DISCARD_MEMBLOCK, include/linux/memblock.h (4.14).
    """

    @property
    def uses_marks(self) -> bool:
        """Whether it depends on what memblock knows."""
        return self.decided_by == "marks"


POSTED_UNUSED_VMEMMAP = UnusedVmemmap(
    helpers=POSTED, marks_unpopulated=False, clears_only_the_part=False
)
"""The series as it was posted."""


class Verdict(NamedTuple):
    """What memblock_is_vmemmap_unused_range() says, and whether it may be believed."""

    unused: bool
    out_of_bounds: bool = False
    """Whether it read outside the array: *unused* is then arbitrary in the kernel.

    Simplified: the model answers that the range is in use, as if zeroes lay there.
    """
