"""Machines that the tests boot, and operations in one line.

Most tests use the tiny geometry with the layout ``collision``::

    section    A [0-8)   B [8-16)          C [16-24)   D [24-32)
               [RAM RAM] [RAM HOLE[12-16)] [         ] [        ]
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from hotplug_model import steps
from hotplug_model.boot import BootLayout, find_layout
from hotplug_model.checker import Checker, Outcome
from hotplug_model.flags import LinearMap
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.ops import OPS, Op
from hotplug_model.ops.memory_block import OfflineMemoryBlock, OnlineMemoryBlock
from hotplug_model.ops.memory_hotplug import AddMemory, RemoveMemory
from hotplug_model.ops.memremap import MemremapPages
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import KernelRules
from hotplug_model.walkers.own import who_may_ask

EVERY_FUNCTION = frozenset(who_may_ask())
"""All that may ask pfn_valid()."""
A, B, C, D = (PfnRange(start, start + 8) for start in (0, 8, 16, 24))
HOLE = PfnRange(12, 16)


class Seeded:
    """A Chooser that a seed decides."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def index(self, n: int) -> int:
        return self._random.randrange(n)


def layout(name: str = "collision", geometry: str = "tiny") -> BootLayout:
    return find_layout(name)(GEOMETRIES[geometry])


def boot(
    of: BootLayout | str = "collision", geometry: str = "tiny", rules: KernelRules = MAINLINE
) -> Kernel:
    made = layout(of, geometry) if isinstance(of, str) else of
    return Kernel.boot(GEOMETRIES[geometry], rules, made)


def do(kernel: Kernel, *ops: Op) -> int | None:
    """The errno of the last one; none of those before it may be refused."""
    refusal = None
    for op in ops:
        assert refusal is None, refusal
        refusal = steps.run(op.steps(kernel))
        settle(kernel)
    return None if refusal is None else refusal.errno


def hold(kernel: Kernel, name: str) -> None:
    """Somebody holds a lock."""
    assert list(kernel.locks.take(name)) == []


def column(kernel: Kernel, name: str, pfns: PfnRange) -> set[int]:
    """All that the pages of a range hold."""
    return set(kernel.pfns.within(pfns, name).tolist())


def settle(kernel: Kernel) -> None:
    """What the checker does behind each operation: equal states are equal bytes."""
    kernel.pfns.merge()
    kernel.vmemmap.merge()


def but_for_strays(kernel: Kernel) -> bytes:
    """The fingerprint of the machine without what x86 leaves mapped after a failed add."""
    twin = kernel.snapshot()
    state = twin.pfns.column("linear_map")
    state[state == LinearMap.STRAY] = LinearMap.NONE
    twin.pfns.merge()
    return twin.fingerprint()


def milestones(kernel: Kernel, op: Op) -> list[str]:
    passed: list[str] = []
    steps.run(op.steps(kernel), passed.append)
    settle(kernel)
    return passed


def walk(checker: Checker, seed: int, nr_steps: int) -> Iterator[tuple[Op, Outcome]]:
    """*nr_steps* random operations, any that is enabled."""
    choose = Seeded(seed)
    for _ in range(nr_steps):
        enabled = [op for op in OPS if op.enabled(checker.kernel)]
        op = enabled[choose.index(len(enabled))].draw(checker.kernel, choose)
        yield op, checker.apply(op)


def pages(start_pfn: int, end_pfn: int) -> PfnRange:
    return PfnRange(start_pfn, end_pfn)


def add(pfns: PfnRange, nid: int = 0, mhp_flags: int = 0) -> Op:
    return AddMemory(nid, pfns, mhp_flags)


def remove(pfns: PfnRange) -> Op:
    return RemoveMemory(pfns)


def online(block_id: int, online_type: str = "online_kernel") -> Op:
    return OnlineMemoryBlock(block_id, online_type)


def offline(block_id: int, unmovable: bool = False) -> Op:
    return OfflineMemoryBlock(block_id, unmovable)


def device(
    *ranges: PfnRange, pgmap_id: int = 0, kind: str = "generic", altmap: tuple[int, ...] = ()
) -> Op:
    return MemremapPages(pgmap_id, ranges, kind, 0, altmap)


def busy(rules: KernelRules = MAINLINE, of: BootLayout | str = "collision") -> Kernel:
    """B is half RAM, half device; C is added but offline; D is online in ZONE_MOVABLE."""
    kernel = boot(of, rules=rules)
    ops = (device(HOLE), add(C), add(D), online(3, "online_movable"))
    assert do(kernel, *ops) is None
    return kernel
