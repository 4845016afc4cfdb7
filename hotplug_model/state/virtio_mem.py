"""A virtio-mem device: memory that the hypervisor lends, a part of a block at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Self

from hotplug_model.pfn import PfnRange


class SbmState(IntEnum):
    """``enum virtio_mem_sbm_mb_state``: a memory block in sub-block mode."""

    VIRTIO_MEM_SBM_MB_UNUSED = 0
    VIRTIO_MEM_SBM_MB_PLUGGED = 1
    VIRTIO_MEM_SBM_MB_OFFLINE = 2
    VIRTIO_MEM_SBM_MB_OFFLINE_PARTIAL = 3
    VIRTIO_MEM_SBM_MB_KERNEL = 4
    VIRTIO_MEM_SBM_MB_KERNEL_PARTIAL = 5
    VIRTIO_MEM_SBM_MB_MOVABLE = 6
    VIRTIO_MEM_SBM_MB_MOVABLE_PARTIAL = 7


class BbmState(IntEnum):
    """``enum virtio_mem_bbm_bb_state``: a big block, of whole memory blocks."""

    VIRTIO_MEM_BBM_BB_UNUSED = 0
    VIRTIO_MEM_BBM_BB_PLUGGED = 1
    VIRTIO_MEM_BBM_BB_ADDED = 2
    VIRTIO_MEM_BBM_BB_FAKE_OFFLINE = 3


@dataclass(slots=True, kw_only=True)
class VirtioMem:
    """``struct virtio_mem`` (drivers/virtio/virtio_mem.c). Sizes are pages.

    A block is a memory block in sub-block mode, a big block in big-block mode; a part is
    a sub-block, or all of a big block.
    """

    region: PfnRange
    """What the device may ever plug."""
    nid: int
    block_pages: int
    part_pages: int
    requested: int = 0
    """How much the hypervisor wants to be plugged."""
    states: dict[int, int] = field(default_factory=dict)
    """State of each block that was ever prepared, by its id; :class:`SbmState` or
    :class:`BbmState`."""
    plugged: dict[int, int] = field(default_factory=dict)
    """Plugged parts of each of them, a bit a part: what the driver believes."""
    backed: dict[int, int] = field(default_factory=dict)
    """What the hypervisor has plugged, in the same way: the truth."""
    hotplug_active: bool = False
    """Whether a notifier call is to be followed by another."""
    broken: bool = False
    """Whether the driver met an error that it cannot handle."""
    removing: bool = False
    """Whether the driver is about to go: nothing goes online or offline any more."""

    @property
    def in_sbm(self) -> bool:
        """Whether it is in sub-block mode."""
        return self.part_pages < self.block_pages

    @property
    def parts(self) -> int:
        """``sbs_per_mb``; 1 in big-block mode."""
        return self.block_pages // self.part_pages

    @property
    def whole(self) -> int:
        """Bits of a block that is plugged as a whole."""
        return (1 << self.parts) - 1

    @property
    def plugged_size(self) -> int:
        """Pages that are plugged."""
        return sum(bits.bit_count() for bits in self.plugged.values()) * self.part_pages

    @property
    def first_id(self) -> int:
        """The first block that lies wholly in the region."""
        return -(-self.region.start_pfn // self.block_pages)

    @property
    def last_usable_id(self) -> int:
        """The last one."""
        return self.region.end_pfn // self.block_pages - 1

    @property
    def next_id(self) -> int:
        """The block to prepare when more are needed."""
        return self.first_id + len(self.states)

    def block_pfns(self, block: int) -> PfnRange:
        """Every pfn of a block."""
        return PfnRange(block * self.block_pages, (block + 1) * self.block_pages)

    def part_pfns(self, block: int, part: int, count: int = 1) -> PfnRange:
        """*count* parts of a block, from *part* on."""
        start = block * self.block_pages + part * self.part_pages
        return PfnRange(start, start + count * self.part_pages)

    @property
    def lent(self) -> list[PfnRange]:
        """What is the hypervisor's, plugged or not."""
        return [self.region]

    def unplugged(self) -> list[PfnRange]:
        """Parts of its blocks that nothing is behind."""
        blocks = sorted(self.states)
        return [part for each in blocks for part in self.parts_without(each, self.backed)]

    def unplugged_parts(self, block: int) -> list[PfnRange]:
        """The parts of a block that the driver believes are not plugged."""
        return self.parts_without(block, self.plugged)

    def parts_without(self, block: int, bits: dict[int, int]) -> list[PfnRange]:
        """The parts of a block whose bit is not set."""
        its = bits.get(block, 0)
        return [self.part_pfns(block, i) for i in range(self.parts) if not its >> i & 1]

    def in_state(self, state: int) -> list[int]:
        """Blocks in *state*, lowest first."""
        return [block for block, its in sorted(self.states.items()) if its == state]

    def copy(self) -> Self:
        """An independent copy."""
        states, plugged, backed = dict(self.states), dict(self.plugged), dict(self.backed)
        return replace(self, states=states, plugged=plugged, backed=backed)

    def numbers(self) -> list[int]:
        """Every field, for a fingerprint."""
        numbers = [self.region.start_pfn, self.region.end_pfn, self.nid, self.block_pages]
        numbers += [self.part_pages, self.requested, self.hotplug_active, self.broken]
        numbers += [self.removing, len(self.states)]
        for block in sorted(self.states):
            bits = self.plugged.get(block, 0), self.backed.get(block, 0)
            numbers += [block, self.states[block]]
            numbers += [byte for each in bits for byte in each.to_bytes(self.parts, "little")]
        return numbers
