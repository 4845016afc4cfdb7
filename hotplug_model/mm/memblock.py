"""Regions are added, split, merged and marked: mm/memblock.c, for ``memblock.memory``.

Ranges are of any unit that a caller uses throughout: a kernel's are bytes. Simplified:
memblock_double_array() is taken to fail, always. It needs memory at a time when memory
may be what is missing; a kernel where it succeeds is a larger ``max``.
"""

from __future__ import annotations

import errno

import numpy as np

from hotplug_model.errors import KernelRefusal
from hotplug_model.pfn import PfnRange
from hotplug_model.state.memblock import (
    CORRECTED,
    NUMA_NO_NODE,
    Memblock,
    MemblockFlag,
    Region,
    UnusedVmemmapQuery,
    Verdict,
)

UNUSED = MemblockFlag.MEMBLOCK_UNUSED_VMEMMAP


def memblock_add(memory: Memblock, pfns: PfnRange) -> int:
    """Add memory of no node. Returns 0; **Refuses** with ENOMEM, as memblock_add_node().

    Source: memblock_add().
    """
    return memblock_add_node(memory, pfns, NUMA_NO_NODE)


def memblock_add_node(memory: Memblock, pfns: PfnRange, nid: int, flags: int = 0) -> int:
    """Add those of *pfns* that are not known; the others keep node and flags. Returns 0.

    **Refuses** with ENOMEM, changing nothing, if the pieces to insert do not fit, even
    where merging would make room.

    Source: memblock_add_node(), memblock_add_range().
    """
    if pfns.nr_pages <= 0:
        return 0
    if memory.is_empty:
        memory.regions[0] = pfns.start_pfn, pfns.end_pfn, flags, nid
        return 0
    pieces = unknown_pieces(memory, pfns)
    if memory.cnt + len(pieces) > memory.max:
        raise KernelRefusal(errno.ENOMEM)
    for nr_inserted, (idx, piece) in enumerate(pieces):
        new = Region(piece.start_pfn, piece.end_pfn, flags, nid)
        memblock_insert_region(memory, idx + nr_inserted, new)
    memblock_merge_regions(memory)
    return 0


def unknown_pieces(memory: Memblock, pfns: PfnRange) -> list[tuple[int, PfnRange]]:
    """Parts of *pfns* in no region, each with the index of the region that it precedes."""
    pieces = []
    start = pfns.start_pfn
    for idx, rgn in enumerate(memory.known()):
        pieces.append((idx, PfnRange(start, min(rgn.base, pfns.end_pfn))))
        start = max(start, rgn.end)
    pieces.append((memory.cnt, PfnRange(start, pfns.end_pfn)))
    return [(idx, piece) for idx, piece in pieces if piece.nr_pages > 0]


def memblock_insert_region(memory: Memblock, idx: int, new: Region) -> None:
    """Put *new* into slot *idx*; a slot must be free.

    Source: memblock_insert_region().
    """
    memory.regions[idx + 1 : memory.cnt + 1] = memory.regions[idx : memory.cnt]
    memory.regions[idx] = new
    memory.cnt += 1


def memblock_remove(memory: Memblock, pfns: PfnRange) -> int:
    """Forget *pfns*, and every mark on them. Returns 0.

    **Refuses** with ENOMEM, as memblock_isolate_range(), changing nothing.

    Source: memblock_remove(), memblock_remove_range().
    """
    for idx in reversed(memblock_isolate_range(memory, pfns)):
        memblock_remove_region(memory, idx)
    return 0


def memblock_remove_region(memory: Memblock, idx: int) -> None:
    """Move the regions behind slot *idx* up by one; the last slot's content stays.

    Source: memblock_remove_region().
    """
    move_up(memory, idx)
    if memory.cnt == 0:
        memory.cnt = 1
        memory.regions[0] = 0, 0, 0, NUMA_NO_NODE


def move_up(memory: Memblock, idx: int) -> None:
    """Overwrite slot *idx* with those behind it, as memmove() does: nothing is zeroed."""
    memory.regions[idx : memory.cnt - 1] = memory.regions[idx + 1 : memory.cnt]
    memory.cnt -= 1


def memblock_isolate_range(memory: Memblock, pfns: PfnRange) -> range:
    """Split regions at both ends of *pfns*. Returns the indices of those inside.

    ::

        before  |-------0-------|   |---1---|
        pfns          [------------------)
        after   |--0--|----1----|   |-2--|-3|     range(1, 3)

    **Refuses** with ENOMEM unless two slots are free, before anything is split and
    whether or not something has to be.

    Source: memblock_isolate_range().
    """
    if pfns.nr_pages <= 0:
        return range(0)
    if memory.cnt + 2 > memory.max:
        raise KernelRefusal(errno.ENOMEM)
    split_region(memory, pfns.start_pfn)
    split_region(memory, pfns.end_pfn)
    # By their ends, so that the empty region of an empty array is inside of nothing.
    start_rgn = np.searchsorted(memory.end[: memory.cnt], pfns.start_pfn, side="right")
    end_rgn = np.searchsorted(memory.base[: memory.cnt], pfns.end_pfn, side="left")
    return range(int(start_rgn), int(end_rgn))


def split_region(memory: Memblock, pfn: int) -> None:
    """Make the region that holds *pfn* two, of which the second starts there."""
    idx = memblock_search(memory, pfn)
    if idx >= 0 and memory.region(idx).base < pfn:
        memblock_insert_region(memory, idx, memory.region(idx)._replace(end=pfn))
        memory.base[idx + 1] = pfn


def memblock_merge_regions(memory: Memblock) -> None:
    """Join neighbours that touch and have the same node and flags.

    Source: memblock_merge_regions().
    """
    idx = 0
    while idx < memory.cnt - 1:
        this, following = memory.region(idx), memory.region(idx + 1)
        if following != this._replace(base=this.end, end=following.end):
            idx += 1
            continue
        memory.end[idx] = following.end
        move_up(memory, idx + 1)


def memblock_search(memory: Memblock, pfn: int) -> int:
    """Index of the region that holds *pfn*, or -1.

    Source: memblock_search().
    """
    idx = int(np.searchsorted(memory.base[: memory.cnt], pfn, side="right")) - 1
    return idx if idx >= 0 and pfn < memory.region(idx).end else -1


def memblock_setclr_flag(memory: Memblock, pfns: PfnRange, set_flag: bool, flag: int) -> int:
    """Set or clear *flag* on those of *pfns* that are known. Returns 0.

    Where nothing is known, nothing is set, and that is no error.

    **Refuses** with ENOMEM, as memblock_isolate_range(), changing nothing.

    Source: memblock_setclr_flag().
    """
    rgns = memblock_isolate_range(memory, pfns)
    if set_flag:
        memory.flags[rgns.start : rgns.stop] |= int(flag)
    else:
        memory.flags[rgns.start : rgns.stop] &= ~int(flag)
    memblock_merge_regions(memory)
    return 0


def memblock_mark_unused_vmemmap(
    memory: Memblock, pfns: PfnRange, query: UnusedVmemmapQuery = CORRECTED
) -> int:
    """Note that what *pfns* hold of the memmap describes removed memory. Returns 0.

    **Refuses** with ENOMEM, as memblock_isolate_range(): nothing is marked, and what is
    not marked is never freed. Callers that drop the errno get it returned, negative.

    Source: memblock_mark_unused_vmemmap(), "[PATCH v2 3/5] mm: memory_hotplug: memblock
    to track partially removed vmemmap mem", linux-mm, November 2017.
    """
    return setclr_unused_vmemmap(memory, pfns, True, query)


def memblock_clear_unused_vmemmap(
    memory: Memblock, pfns: PfnRange, query: UnusedVmemmapQuery = CORRECTED
) -> int:
    """Note that *pfns* are in use again, or freed. Returns 0.

    **Refuses** with ENOMEM, as memblock_isolate_range(): the marks stay, and a later
    query takes what is in use for unused. Callers that drop the errno get it returned,
    negative.

    Source: memblock_clear_unused_vmemmap(), in the thread of
    memblock_mark_unused_vmemmap().
    """
    return setclr_unused_vmemmap(memory, pfns, False, query)


def setclr_unused_vmemmap(
    memory: Memblock, pfns: PfnRange, set_flag: bool, query: UnusedVmemmapQuery
) -> int:
    """Set or clear the mark; 0, or the errno that nobody looks at."""
    try:
        return memblock_setclr_flag(memory, pfns, set_flag, UNUSED)
    except KernelRefusal as refusal:
        if query.checks_errors:
            raise
        return -refusal.errno


def memblock_is_vmemmap_unused_range(
    memory: Memblock, mt: Memblock, pfns: PfnRange, query: UnusedVmemmapQuery = CORRECTED
) -> Verdict:
    """Whether all of *pfns*, one at least, is marked in *mt*: the page may be freed.

    *memory* is ``memblock.memory``, which the posted code reads whatever *mt* is. Marks
    are only ever made there: in any other array the corrected answer is no.

    Source: memblock_is_vmemmap_unused_range(), in the thread of
    memblock_mark_unused_vmemmap().
    """
    idx = memblock_search(mt, pfns.start_pfn)
    if idx < 0:
        return Verdict(unused=False, out_of_bounds=not query.checks_search)
    regions, covered = mt, pfns.start_pfn
    while idx < regions.cnt or not query.stops_at_cnt:
        if idx >= regions.max:
            return Verdict(unused=False, out_of_bounds=True)
        rgn = regions.region(idx)
        if rgn.base >= pfns.end_pfn:
            break
        gap = rgn.base > covered and query.checks_coverage
        if gap or not rgn.flags & UNUSED:
            return Verdict(unused=False)
        covered = rgn.end
        regions = mt if query.honours_type else memory
        idx += 1
    return Verdict(unused=covered >= pfns.end_pfn or not query.checks_coverage)
