"""System RAM going offline, and the refusals of onlining that undo as it does."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker
from hotplug_model.flags import (
    MHP_MEMMAP_ON_MEMORY,
    BlockState,
    NotifierAction,
    PageContent,
    SectionFlag,
    ZoneType,
)
from hotplug_model.invariants.sections import buddy_pages_are_system_ram
from hotplug_model.kernel import Kernel
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.ops import Op
from hotplug_model.ops.memory_block import VetoMemoryNotifier
from hotplug_model.ops.pages import PinPages
from hotplug_model.ops.user_pages import PinUserPages
from hotplug_model.ops.xen_balloon import IncreaseReservation
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import KernelRules
from stateful_tests.kernels import (
    A,
    B,
    C,
    D,
    add,
    boot,
    device,
    do,
    layout,
    offline,
    online,
    pages,
)

NORMAL, MOVABLE = ZoneType.ZONE_NORMAL, ZoneType.ZONE_MOVABLE
OFFLINE, ONLINE = BlockState.MEM_OFFLINE, BlockState.MEM_ONLINE
HOSTED = add(C, mhp_flags=MHP_MEMMAP_ON_MEMORY)
CD = pages(16, 32)
PINNED = PinPages(pages(17, 18))
USAGE = SectionFlag.USAGE | SectionFlag.BOOT_USAGE


def machine(*ops: Op, of: str = "collision") -> Kernel:
    kernel = boot(of)
    assert do(kernel, *ops) is None
    kernel.notified.clear()
    return kernel


HOLE_IN_B = pages(10, 11)


def with_a_hole(rules: KernelRules) -> Kernel:
    """A hole within the second block, whose struct pages boot does not set up."""
    ram = tuple((pfns, 0) for pfns in (A, pages(8, 10), pages(11, 16)))
    return boot(replace(layout("holes-in-zone"), ram=ram), rules=rules)


def kernel_memory(*then: Op) -> Kernel:
    return machine(add(CD), online(2), online(3), *then)


def movable_memory(*then: Op) -> Kernel:
    return machine(
        add(CD), online(2, "online_movable"), online(3, "online_movable"), *then
    )


def span(kernel: Kernel, zone_type: ZoneType, nid: int = 0) -> PfnRange:
    return kernel.zone(nid, zone_type).span


def actions(kernel: Kernel) -> list[str]:
    return [action.name for action, _ in kernel.notified]


# What offlining does


def test_an_offline_block_is_in_no_zone_and_its_pages_are_poisoned() -> None:
    kernel = movable_memory()
    assert do(kernel, offline(3)) is None
    x = kernel.extents()
    assert x.where(x.online_page) == (pages(0, 12), C)
    assert (kernel.blocks[3].state, kernel.blocks[3].zone) == (OFFLINE, None)
    assert kernel.pfns.at(24, "content") == PageContent.POISONED
    assert kernel.pfns.at(24, "block") == OFFLINE
    assert kernel.pfns.at(16, "content") == PageContent.INITIALISED


def test_without_poisoning_an_offline_page_keeps_its_last_zone() -> None:
    kernel = machine(add(C), online(2, "online_movable"), offline(2), of="stale")
    assert kernel.pfns.at(16, "content") == PageContent.STALE
    assert kernel.pfns.at(16, "zone") == MOVABLE


BEFORE_5_10 = ("c5e79ef561b0", "0a1a9a0008bb", "aac65321ba69")


@pytest.mark.parametrize(
    ("release", "changes"), [("4.20", ()), ("5.4", ()), ("5.8", BEFORE_5_10[:1])]
)
def test_before_5_10_a_hole_goes_neither_offline_nor_online(
    release: str, changes: tuple[str, ...]
) -> None:
    kernel = with_a_hole(KernelVariant.named(release, changes).rules())
    counted = kernel.zone(0, NORMAL).present_pages, kernel.zone(0, NORMAL).managed_pages
    assert do(kernel, offline(1)) is None
    ram = kernel.zone(0, NORMAL).present_pages
    assert counted[0] - ram == B.nr_pages - HOLE_IN_B.nr_pages
    assert do(kernel, online(1)) is None
    assert counted == (kernel.zone(0, NORMAL).present_pages, kernel.zone(0, NORMAL).managed_pages)
    x = kernel.extents()
    assert x.where(x.is_boot_hole) == (HOLE_IN_B,)
    assert not buddy_pages_are_system_ram(x)
    # Its struct pages are initialised now, and reserved.
    assert do(kernel, offline(1)) == errno.EBUSY


@pytest.mark.parametrize(
    ("undone", "offlined", "given"),
    [
        (BEFORE_5_10, 7, ()), (BEFORE_5_10[:1], 8, (pages(10, 11),)),
        (BEFORE_5_10[:2], 7, (pages(10, 11),)),
    ],
)  # fmt: skip
def test_what_walks_system_ram_tells_a_hole(
    undone: tuple[str, ...], offlined: int, given: tuple[PfnRange, ...]
) -> None:
    kernel = with_a_hole(KernelVariant.named(None, undone).rules())
    managed = kernel.zone(0, NORMAL).managed_pages
    assert do(kernel, offline(1)) is None
    assert managed - kernel.zone(0, NORMAL).managed_pages == offlined
    assert do(kernel, online(1)) is None
    assert tuple(buddy_pages_are_system_ram(kernel.extents())) == given


def test_a_block_with_a_hole_stays_online_today() -> None:
    kernel = with_a_hole(MAINLINE)
    assert do(kernel, offline(1)) == errno.EINVAL


def test_a_zone_shrinks_from_its_end_and_so_does_its_node() -> None:
    kernel = movable_memory(offline(3))
    assert span(kernel, MOVABLE) == C
    assert kernel.nodes[0].span == pages(0, 24)
    zone = kernel.zone(0, MOVABLE)
    assert (zone.present_pages, zone.managed_pages) == (8, 8)
    assert kernel.nodes[0].node_present_pages == 20


def test_a_zone_shrinks_from_its_start_and_its_node_does_not() -> None:
    kernel = movable_memory(offline(2))
    assert span(kernel, MOVABLE) == D
    assert kernel.nodes[0].span == pages(0, 32)


def test_the_middle_of_a_zone_stays_in_its_span() -> None:
    kernel = kernel_memory(offline(2))
    assert span(kernel, NORMAL) == pages(2, 32)


def test_a_zone_that_shrinks_jumps_over_what_is_offline() -> None:
    kernel = kernel_memory(offline(2), offline(3))
    assert span(kernel, NORMAL) == pages(2, 12)


def test_an_empty_zone_spans_nothing_from_pfn_0() -> None:
    kernel = movable_memory(offline(2), offline(3))
    zone = kernel.zone(0, MOVABLE)
    assert (zone.zone_start_pfn, zone.spanned_pages) == (0, 0)


def test_a_node_whose_last_block_goes_offline_spans_nothing() -> None:
    kernel = machine(offline(1), of="two-nodes")
    assert kernel.nodes[1].span == pages(0, 0)
    assert kernel.nodes[0].span == A


def test_shrinking_does_not_stop_at_device_pages() -> None:
    kernel = kernel_memory(offline(2), device(pages(14, 16)), offline(3))
    assert span(kernel, NORMAL) == pages(2, 12)
    assert span(kernel, ZoneType.ZONE_DEVICE) == pages(14, 16)


# What offlining refuses


@pytest.mark.parametrize(
    ("pinned", "unmovable", "err", "told"),
    [
        (False, True, errno.EBUSY, []),
        (True, False, errno.EBUSY, []),
    ],
    ids=["an unmovable page", "a pinned page"],
)
def test_a_page_in_a_kernel_zone_that_cannot_move_refuses_before_any_notifier(
    pinned: bool, unmovable: bool, err: int, told: list[str]
) -> None:
    kernel = kernel_memory(*([PINNED] if pinned else []))
    before = kernel.fingerprint()
    assert do(kernel, offline(2, unmovable)) == err
    assert (actions(kernel), kernel.fingerprint()) == (told, before)


def test_a_pinned_movable_page_keeps_offlining_going_until_a_signal_comes() -> None:
    kernel = movable_memory(PINNED)
    before = kernel.fingerprint()
    assert do(kernel, offline(2)) == errno.EINTR
    assert actions(kernel) == ["MEM_GOING_OFFLINE", "MEM_CANCEL_OFFLINE"]
    assert kernel.fingerprint() == before


def test_an_unmovable_movable_page_refuses() -> None:
    assert do(movable_memory(), offline(2, unmovable=True)) == errno.EBUSY


def test_a_veto_of_going_offline_is_cancelled() -> None:
    kernel = movable_memory(VetoMemoryNotifier(online=False, offline=True))
    before = kernel.fingerprint()
    assert do(kernel, offline(2)) == errno.EPERM
    assert kernel.notified == [
        (NotifierAction.MEM_GOING_OFFLINE, C), (NotifierAction.MEM_CANCEL_OFFLINE, C)
    ]  # fmt: skip
    assert kernel.fingerprint() == before


def test_a_veto_of_going_online_is_cancelled_and_the_zone_shrinks_back() -> None:
    kernel = machine(add(D), VetoMemoryNotifier(online=True, offline=False))
    before = kernel.snapshot()
    assert do(kernel, online(3)) == errno.EPERM
    assert kernel.notified == [
        (NotifierAction.MEM_GOING_ONLINE, D), (NotifierAction.MEM_CANCEL_ONLINE, D)
    ]  # fmt: skip
    assert kernel.nodes.fingerprint() == before.nodes.fingerprint()
    assert kernel.blocks == before.blocks
    assert kernel.pfns.at(24, "content") == PageContent.POISONED


def test_after_a_vetoed_online_the_pages_already_name_the_zone() -> None:
    kernel = machine(add(D), VetoMemoryNotifier(online=True, offline=False), of="stale")
    assert do(kernel, online(3)) == errno.EPERM
    assert kernel.pfns.at(24, "content") == PageContent.STALE
    assert kernel.pfns.at(24, "zone") == NORMAL


def test_a_refused_offline_counts_the_memmap_pages_again() -> None:
    kernel = machine(HOSTED, online(2), of="memmap-on-memory")
    before = kernel.fingerprint()
    assert do(kernel, offline(2, unmovable=True)) == errno.EBUSY
    assert kernel.fingerprint() == before


def test_notifiers_hear_of_success_in_order_and_not_of_the_memmap_pages() -> None:
    kernel = machine(HOSTED, online(2), offline(2), of="memmap-on-memory")
    assert do(kernel, online(2), offline(2)) is None
    rest = pages(20, 24)
    assert kernel.notified == [
        (NotifierAction.MEM_GOING_ONLINE, rest), (NotifierAction.MEM_ONLINE, rest),
        (NotifierAction.MEM_GOING_OFFLINE, rest), (NotifierAction.MEM_OFFLINE, rest),
    ]  # fmt: skip


# Before 5.18: the zone of a block is read from its struct pages

ASKS_PAGES = KernelVariant.named(None, ("395f6081bad4",)).rules()


def test_asking_the_pages_refuses_a_block_of_two_zones() -> None:
    assert do(boot(rules=ASKS_PAGES), offline(0)) == errno.EINVAL


def test_asking_the_pages_finds_the_zone_of_an_added_block() -> None:
    kernel = boot(rules=ASKS_PAGES)
    assert do(kernel, add(C), online(2, "online_movable"), offline(2)) is None
    assert kernel.blocks[2].state == OFFLINE


@pytest.mark.parametrize(("name", "value"), [("zone", 7), ("nid", 5)])
def test_asking_pages_that_name_no_zone_refuses(name: str, value: int) -> None:
    kernel = boot(rules=ASKS_PAGES)
    assert do(kernel, add(C), online(2)) is None
    kernel.pfns.write(C, **{name: value})
    assert do(kernel, offline(2)) == errno.EINVAL


@pytest.mark.parametrize(
    ("changes", "geometry", "zone"),
    [
        ((), "tiny", ZoneType.ZONE_NORMAL), (("7cf209ba8a86",), "tiny", ZoneType.ZONE_DMA),
        (("7cf209ba8a86",), "small", ZoneType.ZONE_NORMAL),
    ],
)  # fmt: skip
def test_of_a_pfn_that_is_no_int_what_is_left_of_it_decided_before_5_15(
    changes: tuple[str, ...], geometry: str, zone: ZoneType
) -> None:
    kernel = boot(geometry=geometry, rules=KernelVariant.named(None, changes).rules())
    size = kernel.geometry.pages_per_section
    pfns = pages(2 * size, 3 * size)
    assert do(kernel, add(pfns), online(2, "online_kernel")) is None
    assert kernel.blocks[2].zone == zone
    kinds = {violation.invariant for violation in Checker(kernel).boot()}
    beyond = zone == ZoneType.ZONE_DMA
    assert kinds == ({"zones_keep_below_their_limits"} if beyond else set())
    assert do(kernel, offline(2)) is None


# What is held


def test_a_page_that_a_process_has_is_waited_for_in_a_kernel_zone_too() -> None:
    kernel = machine(add(C), online(2), PinUserPages("vfio", pages(17, 18)))
    assert do(kernel, offline(2)) == errno.EINTR
    told = [action for action, _ in kernel.notified]
    assert told == [NotifierAction.MEM_GOING_OFFLINE, NotifierAction.MEM_CANCEL_OFFLINE]


def test_a_page_that_is_on_no_lru_list_is_not_isolated_there() -> None:
    kernel = machine(add(C), online(2), PINNED)
    assert do(kernel, offline(2)) == errno.EBUSY
    assert kernel.notified == []


@pytest.mark.parametrize(
    ("hold", "refused"),
    [(PinPages(pages(16, 17)), errno.EBUSY), (PinUserPages("vfio", pages(16, 17)), errno.EINTR)],
)
def test_a_balloon_is_found_behind_what_is_on_no_lru_list_only(hold: Op, refused: int) -> None:
    kernel = machine(
        add(C), online(2, "online_movable"), IncreaseReservation(pages(16, 17)), hold, of="xen"
    )
    assert do(kernel, offline(2)) == refused
