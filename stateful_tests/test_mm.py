"""System RAM, function by function: what it returns, what changes, what must not."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from hotplug_model.boot import BootLayout
from hotplug_model.changes import KernelVariant
from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import (
    MHP_MEMMAP_ON_MEMORY,
    BlockState,
    MemmapOrigin,
    OnlineType,
    PageContent,
    PageFlag,
    SectionFlag,
    ZoneType,
)
from hotplug_model.kernel import Kernel
from hotplug_model.mm.add_pages import add_pages
from hotplug_model.mm.base_memory import device_online, valid_zones_show
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.mm.memory_hotplug import supports_memmap_on_memory
from hotplug_model.ops import Op
from hotplug_model.ops.memory_block import VetoMemoryNotifier
from hotplug_model.ops.resource import RequestMemRegion
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import KernelRules
from stateful_tests.kernels import (
    A,
    B,
    C,
    D,
    add,
    boot,
    but_for_strays,
    device,
    do,
    layout,
    offline,
    online,
    pages,
)

NORMAL, MOVABLE = ZoneType.ZONE_NORMAL, ZoneType.ZONE_MOVABLE
ONLINE = SectionFlag.IS_ONLINE
HOSTED = layout("memmap-on-memory")
ONE_BLOCK = replace(MAINLINE, memmap_on_memory="one_block", memmap_on_memory_falls_back=False)
OLD_RANGE_CHECK = replace(MAINLINE, mhp_range_allowed_first=False)
CD = pages(16, 32)


def refused(kernel: Kernel, op: Op) -> int | None:
    """The errno, having made sure that nothing at all changed."""
    before = kernel.fingerprint()
    err = do(kernel, op)
    assert kernel.fingerprint() == before
    assert not kernel.locks.any_held
    return err


def machine(*ops: Op, of: BootLayout | str = "collision") -> Kernel:
    kernel = boot(of)
    assert do(kernel, *ops) is None
    kernel.notified.clear()
    return kernel


def span(kernel: Kernel, zone_type: ZoneType) -> PfnRange:
    return kernel.zone(0, zone_type).span


def flags(kernel: Kernel, pfns: PfnRange) -> int:
    return kernel.pfns.at(pfns.start_pfn, "section_flags")


# add_memory()

ADD_REFUSALS: list[tuple[str, Op, tuple[Op, ...], KernelRules, int]] = [
    ("beyond what can be addressed", add(pages(32, 40)), (), MAINLINE, errno.E2BIG),
    ("beyond, before 5.12", add(pages(32, 40)), (), OLD_RANGE_CHECK, errno.EEXIST),
    ("nothing", add(pages(16, 16)), (), MAINLINE, errno.E2BIG),
    ("nothing, before 5.12", add(pages(16, 16)), (), OLD_RANGE_CHECK, errno.EEXIST),
    ("System RAM that is there", add(B), (), MAINLINE, errno.EEXIST),
    ("added twice", add(C), (add(C),), MAINLINE, errno.EEXIST),
    ("a busy region", add(C), (RequestMemRegion(pages(18, 20)),), MAINLINE, errno.EEXIST),
    ("busy and misaligned", add(pages(10, 18)), (), MAINLINE, errno.EEXIST),
    ("a misaligned start", add(pages(18, 24)), (), MAINLINE, errno.EINVAL),
    ("a misaligned end", add(pages(16, 22)), (), MAINLINE, errno.EINVAL),
    ("an impossible node", add(C, nid=1), (), MAINLINE, errno.EINVAL),
    ("memmap_on_memory for two blocks", add(CD, 0, MHP_MEMMAP_ON_MEMORY), (), ONE_BLOCK,
     errno.EINVAL),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "before", "rules", "err"), [case[1:] for case in ADD_REFUSALS],
    ids=[case[0] for case in ADD_REFUSALS],
)  # fmt: skip
def test_add_memory_refuses(
    op: Op, before: tuple[Op, ...], rules: KernelRules, err: int
) -> None:
    kernel = boot(HOSTED, rules=rules)
    assert do(kernel, *before) is None
    assert refused(kernel, op) == err


def test_add_memory_refuses_a_populated_subsection_that_no_region_claims() -> None:
    kernel = machine(device(pages(18, 20)))
    assert do(kernel, add(C)) == errno.EEXIST
    assert kernel.iomem.named("System RAM") == [A, pages(8, 12)]
    assert kernel.blocks.keys() == {0, 1}


def test_added_memory_is_valid_offline_and_in_no_zone() -> None:
    kernel = machine(add(C))
    x = kernel.extents()
    assert x.where(x.pfn_valid) == (pages(0, 24),)
    assert x.where(x.online_page) == (pages(0, 12),)
    assert kernel.blocks[2].state == BlockState.MEM_OFFLINE
    assert kernel.blocks[2].zone is None
    assert span(kernel, NORMAL) == pages(2, 12)
    assert kernel.pfns.at(16, "content") == PageContent.POISONED
    assert kernel.pfns.at(16, "memmap") == MemmapOrigin.BUDDY
    assert not flags(kernel, C) & (SectionFlag.IS_EARLY | SectionFlag.BOOT_USAGE | ONLINE)


def test_without_poisoning_added_memory_has_a_zeroed_memmap() -> None:
    kernel = machine(add(C), of="stale")
    assert kernel.pfns.at(16, "content") == PageContent.ZEROED


def test_memmap_on_memory_is_not_zeroed_and_comes_from_each_block() -> None:
    kernel = machine(add(CD, 0, MHP_MEMMAP_ON_MEMORY), of=replace(HOSTED, page_poisoning=False))
    assert kernel.pfns.at(16, "content") == PageContent.GARBAGE
    assert kernel.pfns.at(24, "memmap") == MemmapOrigin.SELF_HOSTED
    assert [kernel.blocks[b].nr_vmemmap_pages for b in (2, 3)] == [4, 4]
    assert kernel.blocks[2].altmap is not kernel.blocks[3].altmap


def test_memmap_on_memory_falls_back_to_an_ordinary_memmap_where_it_is_off() -> None:
    kernel = machine(add(C, 0, MHP_MEMMAP_ON_MEMORY))
    assert kernel.blocks[2].altmap is None
    assert kernel.pfns.at(16, "memmap") == MemmapOrigin.BUDDY


@pytest.mark.parametrize(
    ("geometry", "release", "offered"),
    [
        ("tiny", "5.13", True), ("tiny_arm64", "5.13", True),
        ("tiny_s390", "6.7", False), ("tiny_s390", "6.8", True), ("tiny_ia64", "6.6", False),
    ],
)  # fmt: skip
def test_architectures_offer_memmap_on_memory_since(
    geometry: str, release: str | None, offered: bool
) -> None:
    rules = KernelVariant.named(release, ()).rules()
    kernel = boot("memmap-on-memory", geometry, rules)
    refused = do(kernel, add(C, 0, MHP_MEMMAP_ON_MEMORY))
    if offered or rules.memmap_on_memory_falls_back:
        assert refused is None
        wanted = MemmapOrigin.SELF_HOSTED if offered else MemmapOrigin.BUDDY
        assert kernel.pfns.at(16, "memmap") == wanted
    else:
        assert refused == errno.EINVAL


def test_powerpc_without_radix_offers_no_memmap_on_memory() -> None:
    kernel = boot("memmap-on-memory")
    kernel.geometry = replace(kernel.geometry, arch="powerpc")
    assert not supports_memmap_on_memory(kernel, C, MHP_MEMMAP_ON_MEMORY)
    kernel.geometry = replace(kernel.geometry, arch="x86")
    assert supports_memmap_on_memory(kernel, C, MHP_MEMMAP_ON_MEMORY)


def test_classic_sparsemem_offers_no_memmap_on_memory() -> None:
    kernel = machine(
        add(C, 0, MHP_MEMMAP_ON_MEMORY), of=replace(HOSTED, sparsemem_vmemmap=False)
    )
    assert kernel.pfns.at(16, "memmap") == MemmapOrigin.BUDDY


def test_memmap_on_memory_takes_back_the_blocks_before_the_one_that_fails() -> None:
    kernel = machine(device(pages(28, 30)), of=HOSTED)
    before = kernel.snapshot()
    assert do(kernel, add(CD, 0, MHP_MEMMAP_ON_MEMORY)) == errno.EEXIST
    assert kernel.blocks == before.blocks
    assert kernel.iomem == before.iomem
    assert but_for_strays(kernel) == before.fingerprint()
    assert kernel.ledger.breaches == []


def test_auto_online_puts_new_blocks_where_the_parameter_says() -> None:
    kernel = machine(add(CD), of="auto-online")
    assert [kernel.blocks[b].zone for b in (2, 3)] == [MOVABLE, MOVABLE]
    assert span(kernel, MOVABLE) == CD


def test_auto_online_stops_at_the_first_failure_and_the_add_succeeds_all_the_same() -> None:
    veto = VetoMemoryNotifier(online=True, offline=False)
    kernel = machine(veto, add(CD), of="auto-online")
    assert [kernel.blocks[b].state for b in (2, 3)] == [BlockState.MEM_OFFLINE] * 2
    assert [action for action, _ in kernel.notified] == []


# Online


def test_online_pages_are_in_the_buddy_allocator_and_count() -> None:
    kernel = machine(add(C), online(2))
    zone = kernel.zone(0, NORMAL)
    assert (zone.span, zone.present_pages, zone.managed_pages) == (pages(2, 24), 18, 18)
    assert kernel.nodes[0].span == pages(0, 24)
    assert kernel.nodes[0].node_present_pages == 20
    assert flags(kernel, C) & ONLINE
    state = {n: kernel.pfns.at(16, n) for n in ("content", "zone", "refcount", "page_flags")}
    assert state == {
        "content": PageContent.INITIALISED, "zone": NORMAL, "refcount": 0,
        "page_flags": PageFlag.MANAGED,
    }  # fmt: skip


def test_memmap_pages_of_a_block_are_present_but_not_managed() -> None:
    kernel = machine(add(C, 0, MHP_MEMMAP_ON_MEMORY), online(2, "online_movable"), of=HOSTED)
    zone = kernel.zone(0, MOVABLE)
    assert (zone.present_pages, zone.managed_pages) == (8, 4)
    assert kernel.pfns.at(16, "page_flags") == PageFlag.PG_vmemmap_self_hosted
    assert [kernel.pfns.at(pfn, "refcount") for pfn in (16, 19, 20)] == [1, 1, 0]


PLAIN: list[tuple[str, tuple[Op, ...], bool, ZoneType]] = [
    ("in no span", (), False, NORMAL),
    ("in no span, movable_node", (), True, MOVABLE),
    ("in the span of Movable only", (add(D), online(3, "online_movable")), False, NORMAL),
    ("in the span of Normal only", (add(D), online(3)), True, NORMAL),
]


@pytest.mark.parametrize(
    ("before", "movable_node", "zone"), [case[1:] for case in PLAIN], ids=[c[0] for c in PLAIN]
)
def test_plain_online_chooses(
    before: tuple[Op, ...], movable_node: bool, zone: ZoneType
) -> None:
    kernel = machine(*before, of=replace(layout(), movable_node=movable_node))
    assert do(kernel, add(C), online(2, "online")) is None
    assert kernel.blocks[2].zone == zone


def test_plain_online_inherits_movable_if_only_that_spans_the_block() -> None:
    narrow = replace(layout(), ram=((A, 0),))
    kernel = boot(narrow)
    ops = (add(pages(8, 32)), online(1, "online_movable"), online(3, "online_movable"))
    assert do(kernel, *ops, online(2, "online")) is None
    assert kernel.blocks[2].zone == MOVABLE


@pytest.mark.parametrize(("movable_node", "zone"), [(False, NORMAL), (True, MOVABLE)])
def test_where_both_zones_span_a_block_movable_node_decides(
    movable_node: bool, zone: ZoneType
) -> None:
    of = replace(layout(), ram=((A, 0),), movable_node=movable_node)
    kernel = machine(add(pages(8, 32)), online(3, "online_movable"), online(1), of=of)
    kernel.zone(0, NORMAL).spanned_pages += 8
    kernel.zone(0, MOVABLE).zone_start_pfn -= 8
    kernel.zone(0, MOVABLE).spanned_pages += 8
    assert do(kernel, online(2, "online")) is None
    assert kernel.blocks[2].zone == zone


def test_online_kernel_joins_the_lowest_zone_that_spans_the_block() -> None:
    kernel = machine(add(C))
    kernel.zone(0, ZoneType.ZONE_DMA).spanned_pages = 20
    assert valid_zones_show(kernel, 2) == [ZoneType.ZONE_DMA, MOVABLE]


def test_valid_zones_of_an_offline_block_lists_the_default_first() -> None:
    kernel = machine(add(C), of=replace(layout(), movable_node=True))
    assert valid_zones_show(kernel, 2) == [MOVABLE, NORMAL]


def test_valid_zones_of_an_online_block_is_its_zone_or_none() -> None:
    kernel = machine(add(C), online(2, "online_movable"))
    assert [valid_zones_show(kernel, b) for b in (0, 2)] == [[], [MOVABLE]]


STATE_REFUSALS: list[tuple[str, Op, int]] = [
    ("online when online", online(0), errno.EINVAL),
    ("offline when offline", offline(2), errno.EINVAL),
    ("no such block", online(3), errno.ENOENT),
    ("no such block to offline", offline(3), errno.ENOENT),
    ("block 0 has two zones", offline(0), errno.EINVAL),
    ("a block with a hole", offline(1), errno.EINVAL),
]


@pytest.mark.parametrize(
    ("op", "err"), [case[1:] for case in STATE_REFUSALS], ids=[c[0] for c in STATE_REFUSALS]
)
def test_the_state_of_a_block_refuses(op: Op, err: int) -> None:
    kernel = machine(add(C))
    before = kernel.snapshot()
    assert do(kernel, op) == err
    assert kernel.pfns.fingerprint() == before.pfns.fingerprint()
    assert kernel.nodes.fingerprint() == before.nodes.fingerprint()
    assert kernel.notified == []


def test_onlining_an_online_block_stores_the_type_all_the_same() -> None:
    kernel = machine(add(C), online(2))
    assert do(kernel, online(2, "online_movable")) == errno.EINVAL
    assert kernel.blocks[2].online_type == OnlineType.MMOP_ONLINE_MOVABLE


def test_onlining_a_block_that_is_online_does_nothing() -> None:
    kernel = boot()
    before = kernel.fingerprint()
    assert list(device_online(kernel, 0)) == []
    assert kernel.fingerprint() == before


def test_pages_beyond_what_can_be_addressed_are_refused() -> None:
    with pytest.raises(KernelRefusal, match="E2BIG"):
        list(add_pages(boot(), pages(30, 34), 0, None))
