"""Writes to /sys/devices/system/memory/memoryN/state, and notifiers that veto them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from hotplug_model.errors import UserError
from hotplug_model.flags import BlockState, NotifierAction, OnlineType
from hotplug_model.kernel import Kernel
from hotplug_model.mm import base_memory
from hotplug_model.ops.draw import (
    blocks_in_state,
    may_go_offline,
    pick,
    rarely,
    window_blocks,
)
from hotplug_model.ops.op import Chooser, Op
from hotplug_model.registry import unknown
from hotplug_model.steps import Steps

ONLINE_TYPES = {each.label: each for each in OnlineType if each != OnlineType.MMOP_OFFLINE}


def draw_block(kernel: Kernel, choose: Chooser, wanted: list[int]) -> int:
    """Mostly one of *wanted*, sometimes any block of the window, existing or not."""
    return pick(choose, window_blocks(kernel) if not wanted or rarely(choose) else wanted)


@dataclass(frozen=True)
class OnlineMemoryBlock(Op):
    """Write ``online``, ``online_kernel`` or ``online_movable``."""

    weight: ClassVar[int] = 2
    block_id: int
    online_type: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.online_type not in ONLINE_TYPES:
            raise UserError(unknown("online_type", self.online_type, ONLINE_TYPES))

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether a block is offline."""
        return bool(blocks_in_state(kernel, BlockState.MEM_OFFLINE))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """Mostly an offline block."""
        block_id = draw_block(kernel, choose, blocks_in_state(kernel, BlockState.MEM_OFFLINE))
        return cls(block_id, pick(choose, list(ONLINE_TYPES)))

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.base_memory.state_store`."""
        return base_memory.state_store(kernel, self.block_id, ONLINE_TYPES[self.online_type])


@dataclass(frozen=True)
class OfflineMemoryBlock(Op):
    """Write ``offline``; *unmovable* is whether the kernel finds a page it cannot move."""

    block_id: int
    unmovable: bool

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether a block is online."""
        return bool(blocks_in_state(kernel, BlockState.MEM_ONLINE))

    @classmethod
    def promising(cls, kernel: Kernel) -> bool:
        """Whether a block has one zone and no holes."""
        return bool(may_go_offline(kernel))

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """Mostly a block that may go offline."""
        return cls(draw_block(kernel, choose, may_go_offline(kernel)), rarely(choose))

    def steps(self, kernel: Kernel) -> Steps:
        """See :func:`hotplug_model.mm.base_memory.state_store`."""
        return base_memory.state_store(
            kernel, self.block_id, OnlineType.MMOP_OFFLINE, self.unmovable
        )


@dataclass(frozen=True)
class VetoMemoryNotifier(Op):
    """Let a memory notifier veto going online or going offline from now on, or neither."""

    online: bool
    offline: bool

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Always, but a veto is worth nothing without a block."""
        return bool(kernel.blocks)

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """Lift a veto that is there, else impose one."""
        if kernel.vetoes:
            return cls(False, False)
        return pick(choose, [cls(False, True), cls(True, False), cls(True, True)])

    def steps(self, kernel: Kernel) -> Steps:
        """Never refuses."""
        online = {NotifierAction.MEM_GOING_ONLINE} if self.online else set()
        offline = {NotifierAction.MEM_GOING_OFFLINE} if self.offline else set()
        kernel.vetoes = frozenset(online | offline)
        yield "register_memory_notifier"
