"""Whether everything can be taken away again: bounded liveness.

From a state, what is held is dropped, what is mapped unmapped, what was added goes offline
and is removed, and memory that was there at boot comes back as it was. What differs from
the state after boot when nothing of that helps any more was lost, or stays behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from hotplug_model.checker import QUIESCENT, Checker, carry_out
from hotplug_model.explore.expander import Expander
from hotplug_model.explore.exploration import Exploration
from hotplug_model.explore.residues import RESIDUES, differences
from hotplug_model.flags import BlockState, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.ops.dax_kmem import DaxKmemRemove
from hotplug_model.ops.every import draws
from hotplug_model.ops.memory_block import (
    ONLINE_TYPES,
    OfflineMemoryBlock,
    OnlineMemoryBlock,
    VetoMemoryNotifier,
)
from hotplug_model.ops.memory_hotplug import AddMemory, RemoveMemory
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.ops.pages import UnpinPages
from hotplug_model.ops.resource import ReleaseMemRegion
from hotplug_model.ops.user_pages import UnpinUserPages
from hotplug_model.ops.virtio_mem import VirtioMemRemove
from hotplug_model.ops.xen_balloon import IncreaseReservation
from hotplug_model.state.resource import KMEM, KMEM_LEFT
from hotplug_model.trace import Trace

GIVES_BACK = (
    UnpinPages, UnpinUserPages, IncreaseReservation, MemunmapPages, VirtioMemRemove,
    ReleaseMemRegion,
)  # fmt: skip
"""Operations that only ever take away what another has brought."""
OF_A_FAILED_ADD = frozenset({
    "section_flags MARKED_PRESENT", "section_flags HAS_MEM_MAP", "section_flags USAGE",
    "section_flags MEMMAP", "subsection", "memmap BUDDY", "memmap ALTMAP", "content POISONED",
    "content ZEROED", "content GARBAGE", "memory SYSTEM_RAM", "memory ADDRESSABLE",
    "memory MOVABLE", "memory UNADDRESSABLE", "linear_map MAPPED", "linear_map STRAY", "vmemmap",
})  # fmt: skip
"""Sections of an add that failed behind them, in the words of differences()."""
LEAVES: dict[str, frozenset[str]] = {
    "an-add-that-failed-stays-mapped": OF_A_FAILED_ADD,
    "add-pages-does-not-unwind": OF_A_FAILED_ADD,
    "shrinking-samples-one-pfn-a-subsection": frozenset({
        f"{number} of {zone.name}" for number in ("start_pfn", "spanned_pages") for zone in ZoneType
    }),
}  # fmt: skip
"""What a known defect of mainline leaves behind; it accounts for nothing else."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way back, as far as it goes."""

    ops: tuple[Op, ...]
    left: tuple[str, ...]
    """What is not as it was."""
    defects: tuple[str, ...] = ()
    """Known defects of mainline that show at its end."""

    @property
    def whole(self) -> bool:
        """Whether only that is left which the kernel never takes back."""
        return all(name in RESIDUES for name in self.left)

    @property
    def lost(self) -> tuple[str, ...]:
        """What is left that neither the kernel nor a known defect leaves."""
        known = RESIDUES.keys() | {each for name in self.defects for each in LEAVES.get(name, ())}
        return tuple(name for name in self.left if name not in known)

    @property
    def explained(self) -> bool:
        """Whether known defects account for there being no way back, and not for a long one."""
        return not self.whole and not self.lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """A state from which there is no way back, or none that is short enough."""

    machine: Trace
    """With the operations that lead there; none is known to be shorter."""
    way: Way
    nr_states: int = 0
    """States that are stuck for the same reason."""


@dataclass(slots=True, kw_only=True)
class WaysBack:
    """The ways back from every state of a search."""

    limit: int
    """So many operations are enough, or the state counts as stuck."""
    nr_states: int = 0
    longest: int = 0
    """Operations of the longest way that goes all the way."""
    residues: Counter[str] = field(default_factory=Counter)
    """What stayed behind where nothing else did, and in how many states."""
    stuck: dict[tuple[object, ...], Stuck] = field(default_factory=dict)

    @property
    def unexplained(self) -> list[Stuck]:
        """Those that no known defect of mainline accounts for."""
        return [each for each in self.stuck.values() if not each.way.explained]

    def count(self, way: Way, reached_by: Callable[[], Trace]) -> None:
        """Take in the way back from one more state."""
        self.nr_states += 1
        if way.whole and len(way.ops) <= self.limit:
            self.longest = max(self.longest, len(way.ops))
            self.residues.update(way.left)
            return
        kind = (way.defects if way.explained else way.left, way.whole)
        first = self.stuck.get(kind) or Stuck(machine=reached_by(), way=way)
        more = first.nr_states + 1
        self.stuck[kind] = Stuck(machine=first.machine, way=first.way, nr_states=more)


def look_for_ways_back(
    exploration: Exploration, ways: WaysBack, on_state: Callable[[WaysBack], None]
) -> None:
    """Go back from every state that a search has found, and write it down in *ways*."""
    expander = Expander(exploration.space)
    booted = [machine.machine().kernel for machine in exploration.space.machines]
    sound: set[bytes] = set()
    for number in range(len(exploration.visited)):
        path = exploration.visited.path(number)
        way = way_back(expander.state(path), booted[path[0]], sound)
        ways.count(way, partial(expander.reached, path))
        on_state(ways)


def way_back(kernel: Kernel, booted: Kernel, sound: set[bytes] | None = None) -> Way:
    """Go back from *kernel*, which is left alone, as near to *booted* as it goes."""
    kernel, taken = kernel.snapshot(), []
    left = differences(kernel, booted)
    while left:
        for op in helpful(kernel, booted):
            there = kernel.snapshot()
            refusal, _ = carry_out(there, op)
            if refusal is None:
                kernel, left = there, differences(there, booted)
                taken.append(op)
                break
        else:
            break
    if not left:
        return Way(tuple(taken), left)
    found = Checker(kernel, sound=sound).look(QUIESCENT)
    defects = sorted({violation.defect for violation in found if violation.defect})
    return Way(tuple(taken), left, tuple(defects))


def helpful(kernel: Kernel, booted: Kernel) -> Iterator[Op]:
    """Requests that take something away, or bring back what was there at boot.

    None makes another necessary, so whoever takes one after the other comes to an end.
    """
    if kernel.vetoes:
        yield VetoMemoryNotifier(online=False, offline=False)
    for kind in GIVES_BACK:
        if kind.enabled(kernel):
            yield from draws(kernel, kind, 0)
    for block_id, block in sorted(kernel.blocks.items()):
        at_boot = booted.blocks.get(block_id)
        as_at_boot = at_boot is not None and at_boot.zone == block.zone
        if block.state == BlockState.MEM_ONLINE and not as_at_boot:
            yield OfflineMemoryBlock(block_id, unmovable=False)
    of_drivers = kernel.iomem.named(KMEM) + kernel.iomem.named(KMEM_LEFT)
    if DaxKmemRemove.enabled(kernel):
        yield DaxKmemRemove()
    for block_id in sorted(kernel.blocks.keys() - booted.blocks.keys()):
        pfns = kernel.block_pfns(block_id)
        if not any(region.overlaps(pfns) for region in of_drivers):
            yield RemoveMemory(pfns)
    for block_id, block in sorted(booted.blocks.items()):
        if block_id not in kernel.blocks:
            yield AddMemory(block.nid, kernel.block_pfns(block_id), 0)
        elif kernel.blocks[block_id].state != block.state:
            requests = (OnlineMemoryBlock(block_id, name) for name in ONLINE_TYPES)
            yield from (op for op in requests if zone_behind(kernel, op) == block.zone)


def zone_behind(kernel: Kernel, op: OnlineMemoryBlock) -> int | None:
    """The zone of a block behind *op*."""
    there = kernel.snapshot()
    carry_out(there, op)
    return there.blocks[op.block_id].zone
