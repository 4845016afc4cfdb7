"""Choosing from what is there: helpers that every operation's draw() shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hotplug_model.flags import BlockState, PageFlag
from hotplug_model.kernel import Kernel
from hotplug_model.ops.op import Chooser
from hotplug_model.pfn import PfnRange, merge_ranges
from hotplug_model.state.resource import KMEM, KMEM_LEFT, NAMELESS

T = TypeVar("T")


def pick(choose: Chooser, items: Sequence[T]) -> T:
    """One of *items*; the first is the simplest."""
    return items[choose.index(len(items))]


class Rare(int):
    """A number of options of which all but the last mean the same.

    Exhaustive search tries two of them.
    """


def rarely(choose: Chooser, nr: int = 8) -> bool:
    """True once in *nr*; False is simpler."""
    return choose.index(Rare(nr)) == nr - 1


def idle_pages(kernel: Kernel) -> list[PfnRange]:
    """Ranges of online pages that nobody holds."""
    x = kernel.extents()
    free = x.is_online_ram & (x.page_flags == PageFlag.MANAGED)
    return list(x.where(free & x.online_page & (x.refcount == 0)))


def window_blocks(kernel: Kernel) -> list[int]:
    """Ids of the blocks that lie wholly in the window, existing or not."""
    joined = merge_ranges(kernel.layout.window)
    return [
        block_id
        for pfns in joined
        for block_id in kernel.block_ids(pfns)
        if pfns.contains(kernel.block_pfns(block_id))
    ]


def lent_by_hypervisor(kernel: Kernel) -> list[PfnRange]:
    """Memory of a hypervisor: no device lies there, and nobody but its driver adds it."""
    return list(kernel.lender.lent) if kernel.lender is not None else []


def lent_regions(kernel: Kernel) -> list[PfnRange]:
    """Memory of a hypervisor or of a dax device: no DIMM lies there, and nobody but its driver
    maps, adds or removes it."""
    iomem = kernel.iomem
    of_devices = (pfns for name in (KMEM, KMEM_LEFT, NAMELESS) for pfns in iomem.named(name))
    return [*lent_by_hypervisor(kernel), *of_devices]


def blocks_outside(kernel: Kernel, regions: list[PfnRange]) -> list[int]:
    """window_blocks() that *regions* do not touch."""
    blocks = window_blocks(kernel)
    return [b for b in blocks if not any(r.overlaps(kernel.block_pfns(b)) for r in regions)]


def unlent_blocks(kernel: Kernel) -> list[int]:
    """window_blocks() without those of lent_regions()."""
    return blocks_outside(kernel, lent_regions(kernel))


def blocks_in_state(kernel: Kernel, state: BlockState) -> list[int]:
    """Ids of the existing blocks in *state*."""
    return [block_id for block_id, block in sorted(kernel.blocks.items()) if block.state == state]


def empty_blocks(kernel: Kernel) -> list[int]:
    """Ids of blocks in the window that hold nothing and that nobody has claimed."""
    return [
        block_id
        for block_id in unlent_blocks(kernel)
        if not kernel.pfns.within(kernel.block_pfns(block_id), "subsection").any()
        and not kernel.iomem.is_claimed(kernel.block_pfns(block_id))
    ]


def may_go_offline(kernel: Kernel) -> list[int]:
    """Ids of online blocks that have one zone and no holes."""
    return [
        block_id
        for block_id in blocks_in_state(kernel, BlockState.MEM_ONLINE)
        if kernel.blocks[block_id].zone is not None
        and kernel.iomem.system_ram(kernel.block_pfns(block_id)) == kernel.pages_per_block
    ]


def block_range(kernel: Kernel, choose: Chooser, first: int, known: Sequence[int]) -> PfnRange:
    """One or two blocks from *first* on, the second only if it is *known* too."""
    nr = 1
    if first + 1 in known and rarely(choose, 3):
        nr = 2
    return PfnRange(kernel.block_pfns(first).start_pfn, kernel.block_pfns(first + nr - 1).end_pfn)


def free_ranges(kernel: Kernel) -> list[PfnRange]:
    """Maximal ranges of the window of which no subsection is populated."""
    x = kernel.extents()
    free = x.where(~x.subsection)
    window = merge_ranges(kernel.layout.window)
    parts = (part.intersection(pfns) for pfns in window for part in free)
    lent = lent_regions(kernel)
    return [
        part for part in parts if part.nr_pages > 0 and not any(r.overlaps(part) for r in lent)
    ]


def subsections(kernel: Kernel, choose: Chooser, pfns: PfnRange) -> PfnRange:
    """A subsection-aligned part of *pfns*: at its start or end, or anywhere."""
    size = kernel.geometry.pages_per_subsection
    first, last = -(-pfns.start_pfn // size), pfns.end_pfn // size
    nr = max(1, last - first)
    whole = kernel.geometry.subsections_per_section
    some = (1, 2, nr // 2, whole, whole + 1, nr - 1, nr)
    lengths = sorted({max(1, min(each, nr)) for each in some})
    length = pick(choose, lengths)
    offset = pick(choose, sorted({0, nr - length, (nr - length) // 2}))
    start = first + offset
    return PfnRange(start * size, (start + length) * size)
