"""Hyper-V adds whole blocks and backs some of their pages: only these go online."""

from __future__ import annotations

import errno

import pytest

from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker
from hotplug_model.flags import BlockState, PageFlag, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.mm.xen_balloon import ballooned_pages
from hotplug_model.ops import Op
from hotplug_model.ops.hv_balloon import HotAddReq
from hotplug_model.ops.virtio_mem import VirtioMemProbe
from hotplug_model.ops.xen_balloon import DecreaseReservation
from hotplug_model.page_state import PageState, page_states
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import KernelRules
from hotplug_model.state.hv_balloon import HotAddRegion, HvBalloon
from hotplug_model.together import may_meet
from stateful_tests.kernels import C, D, add, boot, device, do, offline, online, pages

HALF, REST = HotAddReq(pages(16, 20)), HotAddReq(pages(20, 24))
BEFORE_6_11 = KernelVariant.named("6.10", ()).rules()


def ready(*ops: Op, rules: KernelRules | None = None) -> Kernel:
    kernel = boot("hyper-v", rules=rules) if rules else boot("hyper-v")
    assert do(kernel, *ops) is None
    return kernel


def hyper_v(kernel: Kernel) -> HvBalloon:
    assert isinstance(kernel.lender, HvBalloon)
    return kernel.lender


def managed(kernel: Kernel) -> tuple[PfnRange, ...]:
    """What of C and D the buddy allocator has."""
    x = kernel.extents()
    parts = (pfns.intersection(pages(16, 32)) for pfns in x.where(x.is_managed))
    return tuple(part for part in parts if part.nr_pages > 0)


def test_of_a_block_only_what_the_host_backs_goes_to_the_allocator() -> None:
    kernel = ready(HALF)
    assert kernel.blocks[2].state == BlockState.MEM_OFFLINE
    zone = kernel.zone(0, ZoneType.ZONE_NORMAL)
    present, nr_managed = zone.present_pages, zone.managed_pages
    assert do(kernel, online(2)) is None
    assert managed(kernel) == (pages(16, 20),)
    assert (zone.present_pages - present, zone.managed_pages - nr_managed) == (8, 4)
    x = kernel.extents()
    (row,) = [int(x.row_at(pfn)) for pfn in (20,)]
    assert page_states(x)[row] == PageState.WITHHELD
    assert kernel.pfns.at(20, "page_flags") == PageFlag.PG_offline | PageFlag.WITHHELD
    assert Checker(kernel).boot() == []


def test_what_is_not_backed_keeps_its_block_online_and_is_in_no_balloon() -> None:
    kernel = ready(HALF, online(2))
    assert do(kernel, offline(2)) == errno.EBUSY
    assert ballooned_pages(kernel) == []
    assert do(kernel, DecreaseReservation(pages(16, 17))) is None
    assert ballooned_pages(kernel) == [pages(16, 17)]


def test_a_later_request_brings_the_rest_online() -> None:
    kernel = ready(HALF, online(2), REST)
    assert managed(kernel) == (C,)
    assert do(kernel, offline(2), online(2)) is None
    assert managed(kernel) == (C,)
    assert Checker(kernel).boot() == []


def test_where_regions_overlap_the_oldest_says_what_goes_online() -> None:
    kernel = ready(HotAddReq(pages(24, 28)), HotAddReq(pages(16, 28)), online(3))
    older, newer = hyper_v(kernel).regions
    assert (older.pfns, newer.pfns) == (pages(24, 32), pages(16, 32))
    assert managed(kernel) == (pages(24, 28),)
    assert Checker(kernel).boot() == []


def test_before_its_block_is_online_nothing_is_brought_online() -> None:
    kernel = ready(HALF, REST)
    assert managed(kernel) == ()
    assert do(kernel, online(2)) is None
    assert managed(kernel) == (C,)


def test_what_the_host_leaves_out_stays_offline() -> None:
    kernel = ready(HALF, online(2), HotAddReq(pages(21, 24)))
    assert managed(kernel) == (pages(16, 20), pages(21, 24))
    assert hyper_v(kernel).regions[0].gaps == (pages(20, 21),)
    assert hyper_v(kernel).unplugged() == [pages(20, 21)]


def test_a_request_adds_as_many_blocks_as_it_needs() -> None:
    kernel = ready(HotAddReq(pages(16, 28)))
    assert [kernel.block_pfns(block) for block in kernel.blocks][2:] == [C, D]
    assert hyper_v(kernel).unplugged() == [pages(28, 32)]
    grown = ready(HALF, HotAddReq(pages(20, 26)))
    assert hyper_v(grown).regions == [
        HotAddRegion(start_pfn=16, end_pfn=32, ha_end_pfn=32,
            covered_start_pfn=16, covered_end_pfn=26)
    ]  # fmt: skip


def test_a_block_that_cannot_be_added_is_not_counted_but_the_one_before_it_is() -> None:
    kernel = ready(add(D), HotAddReq(pages(16, 28)))
    (region,) = hyper_v(kernel).regions
    assert (region.ha_end_pfn, region.covered_end_pfn) == (24, 24)
    assert not hyper_v(kernel).do_hot_add
    assert not HotAddReq.enabled(kernel)
    state = kernel.fingerprint()
    assert do(kernel, HotAddReq(pages(24, 32))) is None
    assert kernel.fingerprint() == state


def test_memory_is_tried_again_that_was_not_added_for_another_reason() -> None:
    kernel = boot("hyper-v")
    kernel.faults.arm("memory_block")
    assert do(kernel, HALF) is None
    kernel.faults.arm(None)
    assert 2 not in kernel.blocks
    assert hyper_v(kernel).do_hot_add
    assert do(kernel, HALF, online(2)) is None
    assert managed(kernel) == (pages(16, 20),)


def test_memory_that_the_host_did_not_add_never_gets_to_the_allocator() -> None:
    kernel = ready(add(C), online(2))
    assert managed(kernel) == ()
    x = kernel.extents()
    assert page_states(x)[x.row_at(16)] == PageState.WITHHELD
    assert ballooned_pages(kernel) == []
    assert Checker(kernel).boot() == []
    assert ready(add(C), online(2), rules=BEFORE_6_11).pfns.at(16, "page_flags") == (
        PageFlag.PG_reserved | PageFlag.WITHHELD
    )


def test_a_page_is_not_onlined_twice_since_6_11() -> None:
    ops = (HALF, online(2), HotAddReq(pages(19, 24)))
    assert Checker(ready(*ops)).boot() == []
    found = {each.invariant for each in Checker(ready(*ops, rules=BEFORE_6_11)).boot()}
    assert found == {"managed_pages_add_up"}


def test_memory_of_the_host_that_is_in_use_is_noticed() -> None:
    kernel = ready(HALF, online(2))
    hyper_v(kernel).regions[0].covered_end_pfn -= 1
    found = {each.invariant for each in Checker(kernel).boot()}
    assert {"unplugged_memory_is_not_in_use", "unplugged_memory_is_not_read"} <= found


def test_nobody_else_decides_on_hyper_v_and_nobody_asks_elsewhere() -> None:
    kernel = ready()
    assert do(kernel, VirtioMemProbe(C, 0, 2, force_bbm=False)) == errno.EINVAL
    assert do(boot(), HALF) == errno.ENODEV
    assert not HotAddReq.enabled(boot())


@pytest.mark.parametrize(
    ("other", "meets"),
    [(online(2), True), (add(C), False), (add(D), True), (device(C), False), (REST, False)],
)
def test_what_the_host_adds_nobody_else_claims_at_once(other: Op, meets: bool) -> None:
    assert may_meet(HALF, other) == may_meet(other, HALF) == meets


def test_no_zone_manages_more_than_is_present_nor_spans_less() -> None:
    for kernel in (ready(HALF, online(2)), ready(add(C), online(2), HotAddReq(pages(24, 28)))):
        for node in kernel.nodes.values():
            for zone in node.zones:
                assert zone.managed_pages <= zone.present_pages <= zone.spanned_pages


REGION = ("start_pfn", "end_pfn", "ha_end_pfn", "covered_start_pfn", "covered_end_pfn")


def test_a_fingerprint_sees_all_that_the_driver_keeps() -> None:
    before = ready(HALF).fingerprint()
    for name in REGION:
        kernel = ready(HALF)
        (region,) = hyper_v(kernel).regions
        setattr(region, name, getattr(region, name) + 1)
        assert kernel.fingerprint() != before
    changes: list[dict[str, object]] = [
        {"gaps": (C,)}, {"do_hot_add": False}, {"nid": 1}, {"regions": []}
    ]
    for change in changes:
        kernel = ready(HALF)
        device = hyper_v(kernel)
        for name, value in change.items():
            setattr(device.regions[0] if name == "gaps" else device, name, value)
        assert kernel.fingerprint() != before


def test_a_copy_of_the_driver_s_state_is_independent() -> None:
    kernel = ready(HALF)
    before = kernel.fingerprint()
    assert do(kernel.snapshot(), REST) is None
    assert kernel.fingerprint() == before


def test_gaps_count_in_whatever_order_the_host_left_them() -> None:
    kernel = ready(HotAddReq(pages(16, 19)), HotAddReq(pages(21, 22)), HotAddReq(pages(16, 17)))
    assert do(kernel, HotAddReq(pages(18, 24)), online(2)) is None
    (region,) = hyper_v(kernel).regions
    assert region.gaps == (pages(19, 21), pages(17, 18))
    assert managed(kernel) == (pages(16, 17), pages(18, 19), pages(21, 24))


def test_memory_without_a_region_stops_adding_for_good() -> None:
    kernel = ready()
    outcome = Checker(kernel).apply(HotAddReq(pages(16, 24), fail_at="resource"))
    assert outcome.violations == []
    assert not hyper_v(kernel).do_hot_add
    assert do(kernel, HALF) is None
    assert kernel.blocks_in(C) == []
