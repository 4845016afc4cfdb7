"""What virtio-mem plugs is online, what it unplugs is PageOffline, and nothing gets lost."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from hotplug_model import steps
from hotplug_model.checker import Checker, carry_out
from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import BlockState, OnlineType, PageFlag, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.mm import virtio_mem
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.mm.online import has_unmovable_pages
from hotplug_model.mm.page_alloc import alloc_contig_range
from hotplug_model.mm.virtio_mem_sbm import first_unplugged
from hotplug_model.ops import Op
from hotplug_model.ops.interleave import Interleave
from hotplug_model.ops.memory_block import VetoMemoryNotifier
from hotplug_model.ops.pages import PinPages, UnpinPages
from hotplug_model.ops.virtio_mem import VirtioMemProbe, VirtioMemRemove, VirtioMemRequest
from hotplug_model.ops.xen_balloon import DecreaseReservation
from hotplug_model.page_state import PageState, page_states
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import KernelRules
from hotplug_model.state.resource import Resource
from hotplug_model.state.virtio_mem import BbmState, SbmState, VirtioMem
from hotplug_model.walkers.vmcore import read_from_oldmem
from stateful_tests.kernels import C, D, add, boot, do, layout, offline, online, pages
from stateful_tests.kernels import device as memremap

REGION = PfnRange(C.start_pfn, D.end_pfn)
"""Two memory blocks of 8 pages, sub-blocks of 2: the device's, and a pageblock."""
OLD = replace(MAINLINE, offline_skips_page_offline=False)
RULES = pytest.mark.parametrize("rules", [MAINLINE, OLD], ids=["6.11", "6.10"])
NEVER_ONLINE = PageFlag.PG_offline | PageFlag.PG_dirty
KERNEL_PARTIAL = SbmState.VIRTIO_MEM_SBM_MB_KERNEL_PARTIAL


def probe(force_bbm: bool = False) -> Op:
    return VirtioMemProbe(REGION, 0, 2, force_bbm)


def request(nr_pages: int, fail_at: str | None = None) -> Op:
    return VirtioMemRequest(nr_pages, fail_at=fail_at)


def plugged(
    nr_pages: int, *after: Op, bbm: bool = False, rules: KernelRules = MAINLINE
) -> Kernel:
    """A machine that was lent *nr_pages*, and what happened then; every look was in order."""
    checker = Checker(boot(rules=rules))
    for op in (probe(bbm), request(nr_pages), *after):
        outcome = checker.apply(op)
        assert (outcome.refusal, outcome.violations) == (None, []), op
    return checker.kernel


def dumped(kernel: Kernel) -> tuple[PfnRange, ...]:
    """What a crash dump copies whatever is plugged."""
    x = kernel.extents()
    return x.where(read_from_oldmem(x))


def test_a_crash_dump_asks_the_device_and_before_5_16_nobody() -> None:
    kernel = plugged(2, online(2))
    ram = dumped(boot())
    assert dumped(kernel) == ram
    kernel.rules = replace(MAINLINE, answers_vmcore=frozenset())
    assert dumped(kernel) == (*ram, C)


def test_a_crash_dump_copies_ram_that_is_offline_and_ballooned_but_no_device() -> None:
    kernel = boot()
    ram = dumped(kernel)
    assert do(kernel, DecreaseReservation(pages(0, 1)), add(C), memremap(D)) is None
    assert dumped(kernel) == (*ram, C)


def device(kernel: Kernel) -> VirtioMem:
    assert isinstance(kernel.lender, VirtioMem)
    return kernel.lender


def flags(kernel: Kernel, pfns: PfnRange) -> set[int]:
    return set(kernel.pfns.within(pfns, "page_flags").tolist())


def managed(kernel: Kernel, zone: ZoneType = ZoneType.ZONE_NORMAL) -> int:
    return int(kernel.zone(0, zone).managed_pages)


# Plugging


def test_of_a_block_that_goes_online_only_what_is_plugged_goes_to_the_allocator() -> None:
    kernel = plugged(4, online(2))
    assert flags(kernel, pages(16, 20)) == {PageFlag.MANAGED}
    assert flags(kernel, pages(20, 24)) == {NEVER_ONLINE}
    assert managed(kernel) == managed(boot()) + 4
    assert kernel.zone(0, ZoneType.ZONE_NORMAL).present_pages == 10 + 8
    assert device(kernel).states == {2: KERNEL_PARTIAL}


def test_what_is_plugged_later_goes_online_at_once() -> None:
    kernel = plugged(4, online(2), request(6))
    assert flags(kernel, pages(16, 22)) == {PageFlag.MANAGED}
    assert flags(kernel, pages(22, 24)) == {NEVER_ONLINE}
    assert managed(kernel) == managed(boot()) + 6


def test_a_block_that_is_plugged_as_a_whole_is_partial_no_more() -> None:
    kernel = plugged(4, online(2, "online_movable"), request(8))
    assert device(kernel).states == {2: SbmState.VIRTIO_MEM_SBM_MB_MOVABLE}
    assert flags(kernel, C) == {PageFlag.MANAGED}


def test_blocks_in_use_are_filled_before_another_is_added() -> None:
    kernel = plugged(4, request(8))
    assert sorted(set(kernel.blocks) - set(boot().blocks)) == [2]
    assert device(kernel).plugged == {2: 0b1111}
    assert kernel.blocks[2].state == BlockState.MEM_OFFLINE


def test_more_than_there_is_plugs_all_there_is() -> None:
    kernel = plugged(99)
    assert device(kernel).plugged_size == REGION.nr_pages
    assert not device(kernel).broken


@pytest.mark.parametrize(
    ("bits", "most", "found"),
    [(0, 4, (0, 4)), (0b1, 2, (1, 2)), (0b1001, 4, (1, 2)), (0b1011, 4, (2, 1))],
)
def test_the_first_unplugged_sub_blocks_are_found(
    bits: int, most: int, found: tuple[int, int]
) -> None:
    assert first_unplugged(bits, most) == found


# Unplugging


def test_unplugged_pages_are_offline_but_were_online() -> None:
    kernel = plugged(8, online(2), request(6))
    assert flags(kernel, pages(22, 24)) == {PageFlag.PG_offline}
    assert flags(kernel, pages(16, 22)) == {PageFlag.MANAGED}
    assert managed(kernel) == managed(boot()) + 6


def test_what_is_unplugged_and_plugged_again_is_as_before() -> None:
    kernel = plugged(8, online(2), request(4), request(8))
    assert kernel.fingerprint() == plugged(8, online(2), request(8)).fingerprint()


@pytest.mark.parametrize("online_type", ["online_kernel", "online_movable"])
@RULES
def test_a_block_that_is_unplugged_as_a_whole_is_removed(
    rules: KernelRules, online_type: str
) -> None:
    kernel = plugged(8, online(2, online_type), request(0), rules=rules)
    assert 2 not in kernel.blocks
    assert not kernel.pfns.within(C, "subsection").any()
    assert managed(kernel) == managed(boot())
    assert device(kernel).states == {2: SbmState.VIRTIO_MEM_SBM_MB_UNUSED}


def test_an_unplugged_block_that_others_take_offline_is_removed_the_next_time() -> None:
    kernel = boot()
    assert do(kernel, probe(), request(2), online(2, "online_kernel")) is None
    assert do(kernel, VetoMemoryNotifier(online=False, offline=True), request(0)) is None
    assert not device(kernel).plugged_size
    assert 2 in kernel.blocks
    assert do(kernel, VetoMemoryNotifier(online=False, offline=False), offline(2)) is None
    assert device(kernel).states == {2: SbmState.VIRTIO_MEM_SBM_MB_OFFLINE_PARTIAL}
    assert do(kernel, request(0)) is None
    assert 2 not in kernel.blocks
    assert device(kernel).states == {2: SbmState.VIRTIO_MEM_SBM_MB_UNUSED}


def test_offline_blocks_are_unplugged_first_and_movable_ones_before_the_kernel_s() -> None:
    first = plugged(16, online(2), request(8))
    assert sorted(device(first).in_state(SbmState.VIRTIO_MEM_SBM_MB_UNUSED)) == [3]
    second = plugged(16, online(2, "online_movable"), online(3), request(12))
    assert device(second).plugged == {2: 0b0011, 3: 0b1111}


def test_a_busy_sub_block_is_left_and_another_one_unplugged() -> None:
    kernel = plugged(8, online(2), PinPages(pages(23, 24)), request(6))
    assert device(kernel).plugged == {2: 0b1011}
    assert flags(kernel, pages(20, 22)) == {PageFlag.PG_offline}


def test_if_all_is_busy_nothing_is_unplugged_until_it_is_not() -> None:
    pin = PinPages(C)
    kernel = plugged(8, online(2), pin, request(0))
    assert device(kernel).plugged == {2: 0b1111}
    assert do(kernel, UnpinPages(C), request(0)) is None
    assert device(kernel).plugged == {2: 0}


def test_a_request_that_does_not_fit_the_queue_gives_the_pages_back() -> None:
    kernel = plugged(8, online(2))
    checker = Checker(kernel)
    assert checker.apply(request(6, fail_at="virtqueue")).violations == []
    assert flags(kernel, C) == {PageFlag.MANAGED}
    assert (managed(kernel), device(kernel).plugged) == (managed(boot()) + 8, {2: 0b1111})
    assert not device(kernel).broken


# Offlining and onlining what is partly plugged


@RULES
def test_a_partly_plugged_block_goes_offline_and_online_again(rules: KernelRules) -> None:
    before = plugged(4, online(2), rules=rules)
    assert managed(plugged(4, online(2), offline(2), rules=rules)) == managed(boot())
    again = plugged(4, online(2), offline(2), online(2), rules=rules)
    assert again.fingerprint() == before.fingerprint()


@RULES
def test_if_offlining_is_vetoed_the_driver_takes_its_pages_back(rules: KernelRules) -> None:
    kernel = plugged(4, online(2), VetoMemoryNotifier(online=False, offline=True), rules=rules)
    before = kernel.fingerprint()
    assert do(kernel, offline(2)) == errno.EPERM
    assert kernel.fingerprint() == before


def test_pages_whose_driver_is_gone_keep_their_block_online() -> None:
    kernel = plugged(4, online(2), VirtioMemRemove())
    assert do(kernel, offline(2)) == errno.EBUSY
    assert kernel.blocks[2].state == BlockState.MEM_ONLINE


def test_a_partly_plugged_block_that_is_offline_goes_with_the_driver() -> None:
    kernel = plugged(4, VirtioMemRemove())
    assert 2 not in kernel.blocks
    assert kernel.fingerprint() == plugged(0, VirtioMemRemove()).fingerprint()


def test_an_unplugged_block_does_not_go_online() -> None:
    kernel = plugged(4)
    device(kernel).states[2] = SbmState.VIRTIO_MEM_SBM_MB_PLUGGED
    assert do(kernel, online(2)) == errno.EPERM


def test_a_page_in_use_keeps_a_partly_plugged_block_online() -> None:
    kernel = plugged(4, online(2, "online_movable"), PinPages(pages(16, 17)))
    assert do(kernel, offline(2)) == errno.EINTR
    assert flags(kernel, pages(20, 24)) == {NEVER_ONLINE}
    assert set(kernel.pfns.within(pages(20, 24), "refcount").tolist()) == {1}


def test_offline_pages_count_as_movable_and_held_ones_do_not() -> None:
    kernel = plugged(4, online(2))
    assert not has_unmovable_pages(kernel, C, ZoneType.ZONE_NORMAL)
    assert do(kernel, PinPages(pages(16, 17))) is None
    assert has_unmovable_pages(kernel, C, ZoneType.ZONE_NORMAL)
    assert not has_unmovable_pages(kernel, C, ZoneType.ZONE_MOVABLE)


# Big blocks


def test_a_big_block_comes_and_goes_as_a_whole() -> None:
    kernel = plugged(16, online(2), online(3), request(8), bbm=True)
    assert device(kernel).states == {
        2: BbmState.VIRTIO_MEM_BBM_BB_ADDED, 3: BbmState.VIRTIO_MEM_BBM_BB_UNUSED
    }  # fmt: skip
    assert flags(kernel, C) == {PageFlag.MANAGED}
    assert 3 not in kernel.blocks


def test_less_than_a_big_block_is_not_plugged() -> None:
    assert device(plugged(6, bbm=True)).plugged == {}


def test_of_big_blocks_offline_ones_go_first_and_then_movable_ones() -> None:
    first = plugged(16, online(3), request(8), bbm=True)
    second = plugged(16, online(2, "online_movable"), online(3), request(8), bbm=True)
    unused = BbmState.VIRTIO_MEM_BBM_BB_UNUSED
    assert [device(kernel).in_state(unused) for kernel in (first, second)] == [[2], [2]]


def test_a_busy_big_block_is_given_back_as_it_was() -> None:
    kernel = plugged(16, online(2), online(3), PinPages(pages(30, 31)), bbm=True)
    before = [kernel.pfns.fingerprint(), kernel.nodes.fingerprint(), dict(device(kernel).states)]
    assert do(kernel, PinPages(pages(22, 23)), request(0), UnpinPages(pages(22, 23))) is None
    after = [kernel.pfns.fingerprint(), kernel.nodes.fingerprint(), dict(device(kernel).states)]
    assert after == before


def test_a_big_block_whose_offlining_is_vetoed_is_given_back_as_it_was() -> None:
    kernel = plugged(8, online(2), bbm=True)
    before = kernel.pfns.fingerprint() + kernel.nodes.fingerprint()
    assert do(kernel, VetoMemoryNotifier(online=False, offline=True), request(0)) is None
    assert kernel.pfns.fingerprint() + kernel.nodes.fingerprint() == before
    assert device(kernel).states == {2: BbmState.VIRTIO_MEM_BBM_BB_ADDED}


# Beside others


def test_memory_of_others_goes_online_as_ever() -> None:
    kernel = boot()
    small = VirtioMemProbe(D, 0, 2, False)
    assert do(kernel, small, add(C), online(2)) is None
    assert flags(kernel, C) == {PageFlag.MANAGED}


def test_a_region_that_is_claimed_is_refused_and_one_driver_is_enough() -> None:
    kernel = boot()
    assert do(kernel, add(C), probe()) == errno.EBUSY
    assert do(kernel, VirtioMemProbe(D, 0, 2, False), VirtioMemProbe(D, 0, 2, False)) == (
        errno.EINVAL
    )


def test_sub_blocks_were_the_largest_chunks_of_the_allocator() -> None:
    old = replace(MAINLINE, virtio_mem_sub_block_is_max_order=True)

    def part(rules: KernelRules, device_block: int) -> int:
        kernel = boot("collision", "small", rules)
        pfns = kernel.block_pfns(5)
        assert do(kernel, VirtioMemProbe(pfns, 0, device_block, False)) is None
        return device(kernel).part_pages

    assert (part(MAINLINE, 4), part(old, 4), part(MAINLINE, 16)) == (4, 8, 16)


def test_what_is_ballooned_is_fake_offline_to_the_audit() -> None:
    kernel = plugged(4, online(2))
    x = kernel.extents()
    rows = x.row_of(x.start_pfn[(x.start_pfn >= 20) & (x.start_pfn < 24)])
    assert set(page_states(x)[rows].tolist()) == {PageState.FAKE_OFFLINE}


def test_only_free_pages_of_the_allocator_can_be_taken_from_it() -> None:
    kernel = plugged(4, online(2))
    for pfns in (pages(18, 22), pages(20, 22)):
        with pytest.raises(KernelRefusal):
            alloc_contig_range(kernel, pfns)


# What the checker would notice


def test_pages_that_stay_managed_when_unplugged_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checker = Checker(plugged(8, online(2)))
    monkeypatch.setattr(virtio_mem, "adjust_managed_page_count", lambda *args: None)
    found = {violation.invariant for violation in checker.apply(request(6)).violations}
    assert "managed_pages_add_up" in found


def test_a_driver_that_is_not_asked_what_goes_online_is_noticed() -> None:
    checker = Checker(plugged(4))
    checker.kernel.callbacks = replace(checker.kernel.callbacks, online_page=None)
    found = {(each.invariant, each.pfns) for each in checker.apply(online(2)).violations}
    assert found == {
        ("unplugged_memory_is_not_in_use", (pages(20, 24),)),
        ("unplugged_memory_is_not_read", (pages(20, 24),)),
    }


def test_a_driver_that_comes_too_late_for_a_region_leaves_it_to_the_first() -> None:
    kernel = boot()
    assert do(kernel, probe()) is None
    before = kernel.fingerprint()
    assert do(kernel, probe()) == errno.EINVAL
    assert kernel.fingerprint() == before


def test_without_memory_a_big_block_is_given_back_and_no_other_is_tried() -> None:
    kernel = plugged(16, online(2), online(3), bbm=True)
    assert Checker(kernel).apply(request(8, fail_at="notifier")).violations == []
    assert device(kernel).plugged_size == 16
    assert set(device(kernel).states.values()) == {BbmState.VIRTIO_MEM_BBM_BB_ADDED}
    assert not device(kernel).broken
    assert flags(kernel, REGION) == {PageFlag.MANAGED}
    assert do(kernel, request(8)) is None
    assert device(kernel).plugged_size == 8


@pytest.mark.parametrize("bbm", [False, True])
def test_what_could_not_be_added_decides_whatever_becomes_of_it(bbm: bool) -> None:
    kernel = plugged(8, bbm=bbm)
    assert kernel.iomem.request(Resource("somebody", D))
    carry_out(kernel, request(16, fail_at="virtqueue:1"))
    assert device(kernel).broken
    plugged_only = BbmState.VIRTIO_MEM_BBM_BB_PLUGGED if bbm else SbmState.VIRTIO_MEM_SBM_MB_PLUGGED
    assert device(kernel).states[3] == plugged_only


def test_what_goes_online_while_the_driver_goes_is_refused() -> None:
    kernel = boot(replace(layout(), memhp_default_state=OnlineType.MMOP_ONLINE))
    assert do(kernel, probe()) is None
    together = Interleave((request(4), VirtioMemRemove()), ((0, 1), (1, 1)))
    assert Checker(kernel).apply(together).violations == []
    assert kernel.lender is None
    assert kernel.blocks_in(REGION) == []


def test_what_went_online_beside_a_big_block_that_stays_goes_to_the_allocator() -> None:
    region = PfnRange(C.start_pfn, D.end_pfn)
    kernel = boot()
    assert do(kernel, VirtioMemProbe(region, 0, 16, True), request(16), online(2)) is None
    assert do(kernel, VetoMemoryNotifier(False, True)) is None
    together = Interleave((request(0), online(3)), ((0, 2), (1, 99)))
    steps.run(together.steps(kernel))
    assert device(kernel).states == {1: BbmState.VIRTIO_MEM_BBM_BB_ADDED}
    assert flags(kernel, region) == {PageFlag.MANAGED}


@pytest.mark.parametrize(("geometry", "loads"), [("tiny", True), ("tiny_tile", False)])
def test_the_driver_is_loaded_only_where_memory_can_be_removed(geometry: str, loads: bool) -> None:
    assert VirtioMemProbe.enabled(boot(geometry=geometry)) == loads
