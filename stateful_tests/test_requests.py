"""Answers to requests: given for a reason, and true."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from hotplug_model.boot import LAYOUTS
from hotplug_model.checker import Checker, carry_out
from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import MHP_MEMMAP_ON_MEMORY, ZoneType
from hotplug_model.invariants import INVARIANTS
from hotplug_model.invariants.requests import (
    ANSWERS,
    requests_are_refused_for_a_reason,
    requests_that_are_granted_are_carried_out,
    requests_that_cannot_be_met_are_refused,
)
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op, drawn_ops, ops_on_request
from hotplug_model.ops.dax_kmem import DaxKmemProbe, DaxKmemRemove
from hotplug_model.ops.hugetlb import AllocPoolHugeFolio, UpdateAndFreeHugetlbFolio
from hotplug_model.ops.hv_balloon import HotAddReq
from hotplug_model.ops.memory_block import OfflineMemoryBlock, OnlineMemoryBlock, VetoMemoryNotifier
from hotplug_model.ops.memory_failure import HardOfflinePage
from hotplug_model.ops.memory_hotplug import AddMemory, OfflineAndRemoveMemory, RemoveMemory
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.ops.pages import PinPages
from hotplug_model.ops.resource import ReleaseMemRegion, RequestMemRegion
from hotplug_model.ops.virtio_mem import VirtioMemProbe, VirtioMemRemove, VirtioMemRequest
from hotplug_model.ops.xen_balloon import DecreaseReservation, IncreaseReservation
from hotplug_model.pfn import PfnRange
from hotplug_model.state.hv_balloon import HvBalloon
from hotplug_model.state.virtio_mem import SbmState, VirtioMem
from hotplug_model.together import draw_next, swarm
from hotplug_model.trace import Trace
from hotplug_model.walk import SeededChooser
from stateful_tests.kernels import A, B, C, D, boot, busy, do, layout, pages

NOT_JUDGED = {
    "pin_pages", "unpin_pages", "pin_user_pages", "unpin_user_pages", "veto_memory_notifier",
}  # fmt: skip
"""What only keeps books of the model."""
ASKED = [each for each in INVARIANTS if each.name.startswith("requests_")]
PROBE = VirtioMemProbe(D, 0, 2, force_bbm=False)
ONLINE_D = (AddMemory(0, D, 0), OnlineMemoryBlock(3, "online"))


def after(*ops: Op, of: Callable[[], Kernel] = boot) -> Callable[[], Kernel]:
    """A machine to which *ops* happened."""

    def make() -> Kernel:
        kernel = of()
        assert do(kernel, *ops) is None
        return kernel

    return make


def with_a_huge_page() -> Kernel:
    """The pool has one."""
    kernel = boot("hugetlb")
    assert do(kernel, AllocPoolHugeFolio(pages(4, 8))) is None
    return kernel


CAN_BE: dict[str, tuple[Callable[[], Kernel], Op]] = {
    "add_memory": (boot, AddMemory(0, D, 0)),
    "remove_memory": (after(AddMemory(0, D, 0)), RemoveMemory(D)),
    "offline_and_remove_memory": (
        after(*ONLINE_D), OfflineAndRemoveMemory(D, False)
    ),
    "online_memory_block": (
        after(AddMemory(0, D, 0)), OnlineMemoryBlock(3, "online_movable")
    ),
    "offline_memory_block": (after(*ONLINE_D), OfflineMemoryBlock(3, False)),
    "memremap_pages": (boot, MemremapPages(0, (D,), "generic", 0, ())),
    "memunmap_pages": (after(MemremapPages(0, (D,), "generic", 0, ())), MemunmapPages(0)),
    "request_mem_region": (boot, RequestMemRegion(D)),
    "release_mem_region": (after(RequestMemRegion(D)), ReleaseMemRegion(D)),
    "decrease_reservation": (boot, DecreaseReservation(pages(3, 4))),
    "increase_reservation": (
        after(DecreaseReservation(pages(3, 4))), IncreaseReservation(pages(3, 4))
    ),
    "hard_offline_page": (boot, HardOfflinePage(3)),
    "dax_kmem_probe": (boot, DaxKmemProbe((D,), 0)),
    "dax_kmem_remove": (after(DaxKmemProbe((D,), 0)), DaxKmemRemove()),
    "virtio_mem_probe": (boot, PROBE),
    "virtio_mem_request": (after(PROBE), VirtioMemRequest(6)),
    "virtio_mem_remove": (after(PROBE), VirtioMemRemove()),
    "hot_add_req": (lambda: boot("hyper-v"), HotAddReq(pages(16, 20))),
    "alloc_pool_huge_folio": (lambda: boot("hugetlb"), AllocPoolHugeFolio(pages(4, 8))),
    "update_and_free_hugetlb_folio": (
        with_a_huge_page, UpdateAndFreeHugetlbFolio(pages(4, 8))
    ),
}  # fmt: skip
"""Operation -> a machine that can grant it, and how it is asked for."""
CANNOT_BE: list[tuple[str, Callable[[], Kernel], Op, int]] = [
    ("nothing to add", boot, AddMemory(0, PfnRange(24, 24), 0), errno.E2BIG),
    ("beyond all pfns", boot, AddMemory(0, PfnRange(1 << 20, (1 << 20) + 8), 0), errno.E2BIG),
    ("added twice", after(AddMemory(0, D, 0)), AddMemory(0, D, 0), errno.EEXIST),
    (
        "partly a device's", after(PROBE),
        AddMemory(0, pages(18, 26), 0), errno.EEXIST,
    ),
    ("half a block", boot, AddMemory(0, PfnRange(24, 28), 0), errno.EINVAL),
    ("an unknown node", boot, AddMemory(7, D, 0), errno.EINVAL),
    ("removing what is online", boot, RemoveMemory(A), errno.EBUSY),
    ("removing half a block", boot, RemoveMemory(PfnRange(0, 4)), errno.EINVAL),
    ("half a block, offline first", boot, OfflineAndRemoveMemory(PfnRange(0, 4), False),
     errno.EINVAL),
    ("what cannot move", after(*ONLINE_D), OfflineAndRemoveMemory(D, True), errno.EBUSY),
    ("no such block", boot, OnlineMemoryBlock(3, "online"), errno.ENOENT),
    ("online already", boot, OnlineMemoryBlock(0, "online"), errno.EINVAL),
    ("a veto of going online", after(AddMemory(0, D, 0), VetoMemoryNotifier(True, False)),
     OnlineMemoryBlock(3, "online"), errno.EPERM),
    ("no block to offline", boot, OfflineMemoryBlock(3, False), errno.ENOENT),
    ("offline already", after(AddMemory(0, D, 0)), OfflineMemoryBlock(3, False), errno.EINVAL),
    ("a page that is held", after(*ONLINE_D, PinPages(pages(27, 28))),
     OfflineMemoryBlock(3, False), errno.EBUSY),
    ("a veto of going offline", after(*ONLINE_D, VetoMemoryNotifier(False, True)),
     OfflineMemoryBlock(3, False), errno.EPERM),
    ("a map of RAM", boot, MemremapPages(0, (B,), "generic", 0, ()), errno.ENXIO),
    ("no ranges", boot, MemremapPages(0, (), "generic", 0, ()), errno.EINVAL),
    ("half a subsection", boot, MemremapPages(0, (PfnRange(25, 28),), "generic", 0, ()),
     errno.EINVAL),
    ("a map beyond all pfns", boot,
     MemremapPages(0, (PfnRange(1 << 20, (1 << 20) + 8),), "generic", 0, ()), errno.EINVAL),
    ("a map that exists", after(MemremapPages(0, (C,), "generic", 0, ())),
     MemremapPages(0, (D,), "generic", 0, ()), errno.EBUSY),
    ("pages of another map", after(MemremapPages(0, (C,), "generic", 0, ())),
     MemremapPages(1, (C,), "generic", 0, ()), errno.ENOMEM),
    ("no such map", boot, MemunmapPages(0), errno.ENOENT),
    ("a region that is not claimed", boot, ReleaseMemRegion(D), errno.ENOENT),
    ("a region that is claimed", boot, RequestMemRegion(A), errno.EBUSY),
    ("a page that is in use", after(PinPages(pages(3, 4))), DecreaseReservation(pages(3, 4)),
     errno.EBUSY),
    ("no balloon", boot, IncreaseReservation(pages(3, 4)), errno.EINVAL),
    ("broken already", after(HardOfflinePage(3)), HardOfflinePage(3), 133),
    ("half a block of a dax device", boot, DaxKmemProbe((pages(24, 28),), 0), errno.EINVAL),
    ("a second dax device", after(DaxKmemProbe((D,), 0)), DaxKmemProbe((C,), 0), errno.EBUSY),
    ("no dax device to unbind", boot, DaxKmemRemove(), errno.ENODEV),
    ("a device of virtio-mem in RAM", boot, VirtioMemProbe(A, 0, 2, False), errno.EBUSY),
    ("a second device of virtio-mem", after(PROBE), VirtioMemProbe(C, 0, 2, False), errno.EINVAL),
    ("no device to resize", boot, VirtioMemRequest(6), errno.ENODEV),
    ("no device to remove", boot, VirtioMemRemove(), errno.ENODEV),
    ("no host that adds memory", boot, HotAddReq(pages(16, 20)), errno.ENODEV),
    ("no page to break", boot, HardOfflinePage(24), errno.ENXIO),
    ("a huge page of odd size", boot, AllocPoolHugeFolio(pages(4, 6)), errno.EINVAL),
    ("a huge page in use", after(PinPages(pages(5, 6))), AllocPoolHugeFolio(pages(4, 8)),
     errno.ENOMEM),
    ("no huge page", boot, UpdateAndFreeHugetlbFolio(pages(4, 8)), errno.EINVAL),
    ("a broken part of a huge page", with_a_huge_page, HardOfflinePage(5), errno.EBUSY),
]  # fmt: skip
"""What is asked of a machine that must not grant it, and the errno."""


def answered(make: Callable[[], Kernel], op: Op) -> tuple[Kernel, KernelRefusal | None, Kernel]:
    """A machine before and after *op*, and what it was refused with."""
    before = make()
    kernel = before.snapshot()
    refusal, _ = carry_out(kernel, op)
    return before, refusal, kernel


def test_every_operation_is_judged_or_listed() -> None:
    every = drawn_ops().keys() | ops_on_request().keys()
    assert ANSWERS.keys() | NOT_JUDGED == every - {"walk"}
    assert ANSWERS.keys() == CAN_BE.keys()


@pytest.mark.parametrize("name", CAN_BE)
def test_what_can_be_done_is_done_and_not_refused(name: str) -> None:
    before, refusal, kernel = answered(*CAN_BE[name])
    assert refusal is None
    assert requests_that_are_granted_are_carried_out(before, None, kernel) == []
    assert requests_that_cannot_be_met_are_refused(before, None, kernel) == []
    for err in (errno.EBUSY, errno.EINVAL, errno.EEXIST, errno.EPERM, errno.ENOMEM):
        assert requests_are_refused_for_a_reason(before, KernelRefusal(err), kernel) != []


@pytest.mark.parametrize("name", CAN_BE)
def test_what_is_granted_and_not_done_is_noticed(name: str) -> None:
    make, op = CAN_BE[name]
    before, idle = make(), make()
    idle.ledger.operation = op
    undone = requests_that_are_granted_are_carried_out(before, None, idle)
    assert undone
    assert all(pfns.nr_pages > 0 for pfns in undone)


@pytest.mark.parametrize(
    ("make", "op", "err"), [each[1:] for each in CANNOT_BE], ids=[each[0] for each in CANNOT_BE]
)
def test_what_cannot_be_done_is_refused(make: Callable[[], Kernel], op: Op, err: int) -> None:
    before, refusal, kernel = answered(make, op)
    assert refusal is not None
    assert refusal.errno == err
    assert requests_are_refused_for_a_reason(before, refusal, kernel) == []
    assert requests_that_cannot_be_met_are_refused(before, refusal, kernel) == []
    wrong = requests_are_refused_for_a_reason(before, KernelRefusal(errno.EDOM), kernel)
    granted = requests_that_cannot_be_met_are_refused(before, None, kernel)
    assert wrong == granted != []


def test_an_allocation_that_fails_is_a_reason() -> None:
    before, refusal, kernel = answered(boot, AddMemory(0, D, 0, fail_at="resource"))
    assert refusal is not None
    assert refusal.errno == errno.EEXIST
    assert requests_are_refused_for_a_reason(before, refusal, kernel) == []


def test_a_driver_that_bound_a_device_has_some_of_its_memory_whatever_failed() -> None:
    before = boot()
    idle = before.snapshot()
    idle.ledger.operation = DaxKmemProbe((D,), 0, fail_at="resource")
    assert requests_that_are_granted_are_carried_out(before, None, idle) == [D]


@pytest.mark.parametrize(
    ("of", "first", "movable"),
    [("collision", (), False), ("two-nodes", (), True),
     ("two-nodes", (OnlineMemoryBlock(3, "online_kernel"),), False)],
)  # fmt: skip
def test_plain_online_goes_where_one_zone_spans_the_block_or_as_movable_node_says(
    of: str, first: tuple[Op, ...], movable: bool
) -> None:
    machine = after(AddMemory(0, C, 0), AddMemory(0, D, 0), *first, of=lambda: boot(of))
    before, refusal, kernel = answered(machine, OnlineMemoryBlock(2, "online"))
    assert refusal is None
    assert (kernel.blocks[2].zone == ZoneType.ZONE_MOVABLE) == movable
    assert requests_that_are_granted_are_carried_out(before, None, kernel) == []
    kernel.blocks[2].zone = ZoneType.ZONE_NORMAL if movable else ZoneType.ZONE_MOVABLE
    assert requests_that_are_granted_are_carried_out(before, None, kernel) == [C]


def test_a_block_holds_its_memmap_only_if_that_was_wanted() -> None:
    wanted, unasked = AddMemory(0, D, MHP_MEMMAP_ON_MEMORY), AddMemory(0, D, 0)
    before, refusal, kernel = answered(lambda: boot("memmap-on-memory"), wanted)
    assert refusal is None
    assert kernel.blocks[3].altmap
    assert requests_that_are_granted_are_carried_out(before, None, kernel) == []
    kernel.ledger.operation = unasked
    assert requests_that_are_granted_are_carried_out(before, None, kernel) == [D]


def test_what_is_plugged_and_for_nobody_is_gone_after_the_next_request() -> None:
    probe = after(VirtioMemProbe(D, 0, 2, force_bbm=False))
    before, refusal, kernel = answered(probe, VirtioMemRequest(0))
    assert refusal is None
    assert requests_that_are_granted_are_carried_out(before, None, kernel) == []
    assert isinstance(kernel.lender, VirtioMem)
    kernel.lender.states[3] = SbmState.VIRTIO_MEM_SBM_MB_PLUGGED
    assert D in requests_that_are_granted_are_carried_out(before, None, kernel)


@pytest.mark.parametrize(("end", "wrong"), [(22, []), (21, [pages(21, 22)]), (23, [pages(22, 23)])])
def test_what_the_host_has_backed_counts_as_backed_and_nothing_else(
    end: int, wrong: list[PfnRange]
) -> None:
    in_two_parts = after(HotAddReq(pages(16, 20)), of=lambda: boot("hyper-v"))
    before, refusal, kernel = answered(in_two_parts, HotAddReq(pages(22, 24)))
    assert refusal is None
    assert isinstance(kernel.lender, HvBalloon)
    (region,) = kernel.lender.regions
    assert region.gaps == (pages(20, 22),)
    region.gaps = (pages(20, end),)
    assert requests_that_are_granted_are_carried_out(before, None, kernel) == wrong


def test_nothing_is_demanded_of_a_machine_that_was_asked_for_nothing() -> None:
    kernel = busy()
    for each in ASKED:
        assert each.across is not None
        assert each.across(kernel, None, kernel) == []
        assert each.across(kernel, KernelRefusal(errno.EIO), kernel) == []


MACHINES = [
    ("tiny", None), ("tiny_arm64", None), ("tiny_s390", None), ("tiny_tile", None),
    ("tiny", "4.9"), ("tiny", "5.4"), ("tiny", "6.1"), ("tiny_arm64", "5.6"),
]  # fmt: skip


@pytest.mark.unmeasured
@pytest.mark.parametrize(("geometry", "release"), MACHINES)
def test_answers_are_true_on_random_walks(geometry: str, release: str | None) -> None:
    refused: set[str] = set()
    for number, name in enumerate(LAYOUTS.names()):
        trace = Trace(geometry=geometry, boot=layout(name, geometry), release=release, strict=True)
        kernel, choose = trace.machine().kernel, SeededChooser(5, number)
        checker, kinds = Checker(kernel, True, set(), set(), ASKED), swarm(choose)
        for _ in range(60):
            op = draw_next(checker.kernel, kinds, choose, number % 2 == 1, False)
            outcome = checker.apply(op)
            assert outcome.violations == [], op
            refused |= {op.op_name()} if outcome.refusal else set()
    assert len(refused & ANSWERS.keys()) > 5
