"""System RAM coming and going: add_memory(), remove_memory()."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from hotplug_model.flags import MHP_MEMMAP_ON_MEMORY, BlockState, SectionFlag
from hotplug_model.kernel import Kernel
from hotplug_model.mm import memory_hotplug
from hotplug_model.ops.draw import (
    block_range,
    blocks_in_state,
    empty_blocks,
    may_go_offline,
    pick,
    rarely,
    unlent_blocks,
)
from hotplug_model.ops.op import Chooser, Op
from hotplug_model.pfn import PfnRange
from hotplug_model.state.resource import SYSTEM_RAM
from hotplug_model.steps import Steps


@dataclass(frozen=True)
class AddMemory(Op):
    """Add whole memory blocks of System RAM, as a DIMM does."""

    nid: int
    pfns: PfnRange
    mhp_flags: int

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether there is a block that no hypervisor lends."""
        return bool(unlent_blocks(kernel))

    @classmethod
    def promising(cls, kernel: Kernel) -> bool:
        """Whether a block is empty."""
        return bool(empty_blocks(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """Mostly empty blocks; sometimes taken, misaligned, empty or impossible ones."""
        empty = empty_blocks(kernel)
        taken = not empty or rarely(choose)
        known = unlent_blocks(kernel) if taken else empty
        pfns = block_range(kernel, choose, pick(choose, known), known)
        nid = choose.index(kernel.layout.nodes)
        flags = 0
        if kernel.layout.memmap_on_memory and choose.index(2):
            flags = MHP_MEMMAP_ON_MEMORY
        if rarely(choose, 16):
            size = kernel.geometry.pages_per_subsection
            beyond = kernel.geometry.all_pfns.end_pfn
            pfns, nid = pick(
                choose,
                [
                    (PfnRange(pfns.start_pfn + size, pfns.end_pfn + size), nid),
                    (PfnRange(pfns.start_pfn, pfns.start_pfn), nid),
                    (PfnRange(beyond, beyond + pfns.nr_pages), nid),
                    (pfns, kernel.layout.nodes),
                ],
            )
        return cls(nid, pfns, flags)

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.memory_hotplug.add_memory`."""
        return memory_hotplug.add_memory(kernel, self.nid, self.pfns, self.mhp_flags)


def draw_removal(kernel: Kernel, choose: Chooser, wanted: list[int]) -> PfnRange:
    """One or two blocks, mostly from *wanted*, sometimes any that may be removed.

    A caller removes what was added in one piece, or what is not there: remove_memory()
    trusts it not to name device memory, nor two regions at once.
    """
    known = [b for b in unlent_blocks(kernel) if one_piece(kernel, kernel.block_pfns(b))]
    existing = [b for b in known if b in kernel.blocks]
    pool = [b for b in wanted if b in known] or existing
    if not pool or rarely(choose):
        pool = known
    first = pick(choose, pool)
    pfns = block_range(kernel, choose, first, known)
    pfns = pfns if one_piece(kernel, pfns) else kernel.block_pfns(first)
    if rarely(choose, 24):
        return PfnRange(pfns.start_pfn, pfns.end_pfn - kernel.geometry.pages_per_subsection)
    return pfns


def one_piece(kernel: Kernel, pfns: PfnRange) -> bool:
    """Whether *pfns* are part of one System RAM region, or hold nothing at all."""
    regions = [ram for ram in kernel.iomem.named(SYSTEM_RAM) if ram.overlaps(pfns)]
    if not regions:
        return not kernel.pfns.within(pfns, "subsection").any()
    return len(regions) == 1 and (regions[0].contains(pfns) or is_early(kernel, pfns))


def is_early(kernel: Kernel, pfns: PfnRange) -> bool:
    """Whether *pfns* are boot memory, holes included: it cannot go offline."""
    flags = kernel.pfns.within(pfns, "section_flags")
    return bool((flags & SectionFlag.IS_EARLY).all())


@dataclass(frozen=True)
class RemoveMemory(Op):
    """Remove offline memory blocks."""

    pfns: PfnRange

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether there is something to name."""
        return may_remove(kernel)

    @classmethod
    def promising(cls, kernel: Kernel) -> bool:
        """Whether a block is offline."""
        return bool(removable(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """Mostly offline blocks."""
        return cls(draw_removal(kernel, choose, removable(kernel)))

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.memory_hotplug.remove_memory`."""
        return memory_hotplug.remove_memory(kernel, self.pfns)


@dataclass(frozen=True)
class OfflineAndRemoveMemory(Op):
    """Offline memory blocks and remove them in one go, as virtio-mem does."""

    pfns: PfnRange
    unmovable: bool

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether there is something to name."""
        return may_remove(kernel)

    @classmethod
    def promising(cls, kernel: Kernel) -> bool:
        """Whether a block is offline, or may go so."""
        return bool(may_go_offline(kernel) or removable(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """Mostly blocks that may go offline; now and then one with an unmovable page."""
        wanted = [*may_go_offline(kernel), *removable(kernel)]
        return cls(draw_removal(kernel, choose, wanted), rarely(choose))

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.memory_hotplug.offline_and_remove_memory`."""
        return memory_hotplug.offline_and_remove_memory(kernel, self.pfns, self.unmovable)


def may_remove(kernel: Kernel) -> bool:
    """Whether the window has a block that may be removed."""
    return any(one_piece(kernel, kernel.block_pfns(b)) for b in unlent_blocks(kernel))


def removable(kernel: Kernel) -> list[int]:
    """Offline blocks in the window."""
    inside = set(unlent_blocks(kernel))
    return [b for b in blocks_in_state(kernel, BlockState.MEM_OFFLINE) if b in inside]
