"""Device memory: memremap_pages() and memunmap_pages()."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Literal

import pytest

from hotplug_model.boot import BootLayout
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import QUIESCENT, Checker
from hotplug_model.flags import (
    LinearMap,
    MemmapOrigin,
    PageContent,
    PageFlag,
    SectionFlag,
    ZoneType,
)
from hotplug_model.kernel import Kernel
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.ops import Op
from hotplug_model.ops.every import draws
from hotplug_model.ops.memory_failure import HardOfflinePage
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.pfn import PfnRange
from hotplug_model.state.ledger import Law
from hotplug_model.steps import run
from stateful_tests.kernels import (
    HOLE,
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
    online,
    pages,
)

TAINT = SectionFlag.TAINT_ZONE_DEVICE
GONE = MemunmapPages(0)
PIECE = pages(18, 20)
CD = pages(16, 32)
NO_PRIVATE = replace(layout(), device_private=False)


def machine(*ops: Op, of: BootLayout | str = "collision") -> Kernel:
    kernel = boot(of)
    assert do(kernel, *ops) is None
    return kernel


def tainted(kernel: Kernel) -> list[PfnRange]:
    return [s for s in (A, B, C, D) if kernel.pfns.at(s.start_pfn, "section_flags") & TAINT]


def column(kernel: Kernel, name: str, pfns: PfnRange) -> list[int]:
    """One value a page."""
    return [kernel.pfns.at(pfn, name) for pfn in range(pfns.start_pfn, pfns.end_pfn)]


def forgets(part: str, kind: str = "private") -> MemremapPages:
    """A driver that leaves out what a map may have to have."""
    return MemremapPages(0, (HOLE,), kind, 0, (), lacks=part)


REFUSALS: list[tuple[str, tuple[Op, ...], Op, int]] = [
    ("some of it is System RAM", (), device(pages(10, 14)), errno.ENXIO),
    ("its first page is System RAM", (), device(pages(10, 12)), errno.ENXIO),
    ("it is RAM that is not online", (add(C),), device(C), errno.ENXIO),
    ("a map owns its first pfn", (device(PIECE, pgmap_id=1),), device(pages(18, 22)), errno.ENOMEM),
    ("a map owns its last pfn", (device(PIECE, pgmap_id=1),), device(pages(16, 20)), errno.ENOMEM),
    ("it is misaligned", (), device(pages(17, 19)), errno.EINVAL),
    ("nobody moves it to RAM", (), forgets("migrate_to_ram"), errno.EINVAL),
    ("nobody frees its pages", (), forgets("page_free"), errno.EINVAL),
    ("it is nobody's", (), forgets("owner"), errno.EINVAL),
    ("nobody frees its coherent pages", (), forgets("page_free", "coherent"), errno.EINVAL),
    ("it is coherent and nobody's", (), forgets("owner", "coherent"), errno.EINVAL),
    ("its end is misaligned", (), device(pages(16, 19)), errno.EINVAL),
    ("there is no range", (), device(), errno.EINVAL),
    ("it is beyond what can be addressed", (), device(pages(30, 34)), errno.EINVAL),
    ("the altmap is larger", (), device(C, altmap=(0, 9)), errno.EINVAL),
    ("reserve and altmap are larger", (), device(C, altmap=(4, 5)), errno.EINVAL),
    ("its altmap has no room", (), device(C, altmap=(0, 3)), errno.ENOMEM),
    ("alignment eats the room", (), device(C, altmap=(1, 6)), errno.ENOMEM),
    ("its id is taken", (device(PIECE),), device(HOLE), errno.EBUSY),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "op", "err"), [c[1:] for c in REFUSALS], ids=[c[0] for c in REFUSALS]
)
def test_memremap_pages_refuses_and_changes_nothing(
    before: tuple[Op, ...], op: Op, err: int
) -> None:
    kernel = machine(*before)
    old = kernel.fingerprint()
    assert do(kernel, op) == err
    assert but_for_strays(kernel) == old
    assert not kernel.locks.any_held


def test_device_private_memory_needs_a_kernel_that_was_built_with_it() -> None:
    op = device(HOLE, kind="private")
    assert do(boot(NO_PRIVATE), op) == errno.EINVAL
    assert do(boot(), op) is None


@pytest.mark.parametrize(("rule", "end_pfn"), [("keeps_off", 20), ("pads", 24)])
def test_before_5_3_a_section_is_not_shared(
    rule: Literal["keeps_off", "pads"], end_pfn: int
) -> None:
    kernel = boot(rules=replace(MAINLINE, memremap_part_of_section=rule))
    assert do(kernel, device(HOLE)) == errno.ENXIO
    assert do(kernel, device(PIECE)) is None
    assert kernel.pgmaps[0].ranges[0].end_pfn == end_pfn


def test_before_5_3_a_map_has_whole_sections_for_itself() -> None:
    checker = Checker(boot(rules=replace(MAINLINE, memremap_part_of_section="pads")), strict=True)
    assert checker.apply(device(pages(19, 29), altmap=(1, 8))).violations == []
    kernel, x = checker.kernel, checker.kernel.extents()
    assert x.where(x.is_zone_device | (x.pgmap_array >= 0)) == (CD,)
    assert x.where(x.page_pgmap == 0) == (pages(28, 32),)
    altmap = kernel.pgmaps[0].altmap
    assert altmap is not None
    assert (altmap.base_pfn, altmap.reserve, altmap.offset, altmap.end_pfn) == (16, 4, 12, 32)
    outcome = checker.apply(device(pages(30, 32), pgmap_id=1))
    assert (str(outcome.refusal), outcome.violations) == ("-ENOMEM", [])
    assert checker.apply(GONE).violations == []
    assert not checker.kernel.pfns.within(CD, "subsection").any()


def test_only_the_first_range_may_have_an_altmap_and_is_taken_back() -> None:
    kernel = machine()
    before = kernel.pfns.fingerprint()
    assert do(kernel, device(C, D, altmap=(0, 4))) == errno.EINVAL
    assert kernel.pfns.fingerprint() == before
    assert kernel.pgmaps == {}


def test_the_span_of_zone_device_stays_when_a_later_range_is_refused() -> None:
    kernel = machine()
    assert do(kernel, device(C, pages(10, 12))) == errno.ENXIO
    assert kernel.zone(0, ZoneType.ZONE_DEVICE).span == C
    assert kernel.nodes[0].span == pages(0, 24)


def test_an_altmap_without_room_leaves_the_finished_sections() -> None:
    kernel = machine()
    assert do(kernel, device(CD, altmap=(0, 4))) == errno.ENOMEM
    assert kernel.pgmaps == {}
    x = kernel.extents()
    assert x.where(x.pfn_valid) == (pages(0, 24),)
    assert set(column(kernel, "memmap", C)) == {MemmapOrigin.ALTMAP}
    assert set(column(kernel, "pgmap_array", CD)) == {-1}
    assert set(column(kernel, "section_flags", D)) == {0}
    assert kernel.zone(0, ZoneType.ZONE_DEVICE).spanned_pages == 0
    assert tainted(kernel) == []


@pytest.mark.parametrize("op", [device(C), add(C), device(pages(22, 26))])
def test_what_a_failed_add_left_behind_refuses_every_later_one(op: Op) -> None:
    kernel = machine()
    do(kernel, device(CD, altmap=(0, 4)))
    before = kernel.fingerprint()
    assert do(kernel, op) == errno.EEXIST
    assert kernel.fingerprint() == before


def test_a_map_strictly_inside_loses_its_entries() -> None:
    kernel = machine(device(PIECE, pgmap_id=1))
    assert do(kernel, device(C)) == errno.EEXIST
    assert kernel.pgmaps.keys() == {1}
    assert set(column(kernel, "pgmap_array", C)) == {-1}
    assert column(kernel, "page_pgmap", PIECE) == [1, 1]
    assert column(kernel, "subsection", C) == [0, 0, 1, 1, 0, 0, 0, 0]


# What mapping does


@pytest.mark.parametrize(
    ("pfns", "sections"),
    [
        (HOLE, [B]),
        (C, []),
        (CD, []),
        (pages(12, 24), [B]),
        (pages(14, 18), [B, C]),
        (pages(14, 26), [B, D]),
        (pages(16, 18), [C]),
        (pages(22, 24), [C]),
    ],
    ids=str,
)
def test_the_taint_is_on_the_sections_of_unaligned_ends_only(
    pfns: PfnRange, sections: list[PfnRange]
) -> None:
    assert tainted(machine(device(pfns))) == sections


def test_a_device_in_a_hole_uses_the_boot_memmap_and_leaves_the_ram_alone() -> None:
    kernel, untouched = machine(device(HOLE)), boot()
    assert set(column(kernel, "memmap", B)) == {MemmapOrigin.BOOT}
    for name in ("content", "zone", "page_flags", "refcount", "subsection", "pgmap_array"):
        ram = pages(8, 12)
        assert column(kernel, name, ram) == column(untouched, name, ram)
    x = kernel.extents()
    assert x.where(x.online_page) == (pages(0, 12),)
    assert x.where(x.is_zone_device) == (HOLE,)


def test_device_pages_are_reserved_counted_once_and_know_their_map() -> None:
    kernel = machine(device(HOLE))
    page = {
        name: kernel.pfns.at(12, name) for name in ("page_flags", "refcount", "zone", "page_pgmap")
    }
    assert page == {
        "page_flags": PageFlag.PG_reserved, "refcount": 1,
        "zone": ZoneType.ZONE_DEVICE, "page_pgmap": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "release"),
    [("private", "6.0"), ("coherent", "6.0"), ("fs_dax", "6.14"), ("pci_p2pdma", "6.14")],
)
def test_device_pages_that_nobody_uses_rest_at_0_today_and_at_1_before(
    kind: str, release: str
) -> None:
    for name, refcount in ((None, 0), (release, 1)):
        kernel = boot(rules=KernelVariant.named(name, ()).rules())
        assert do(kernel, device(HOLE, kind=kind)) is None
        assert kernel.pfns.at(12, "refcount") == refcount
        assert Checker(kernel).look(QUIESCENT) == []
        kernel.pfns.add(pages(12, 13), "refcount", 1)
        found = {violation.invariant for violation in Checker(kernel).look(QUIESCENT)}
        assert found == {"pages_count_the_references_on_them"}


def test_device_dax_pages_rest_at_1() -> None:
    assert machine(device(HOLE)).pfns.at(12, "refcount") == 1


@pytest.mark.parametrize(
    ("kind", "nr_refs"), [("private", 1), ("coherent", 1), ("generic", 7), ("pci_p2pdma", 7)]
)
def test_a_map_holds_one_reference_a_page_unless_its_pages_count_themselves(
    kind: str, nr_refs: int
) -> None:
    kernel = machine(device(HOLE, pages(20, 22), kind=kind))
    assert kernel.pgmaps[0].nr_refs == nr_refs


@pytest.mark.parametrize(("start_pfn", "below"), [(12, True), (16, False)])
def test_a_compound_page_that_begins_in_a_section_of_boots_takes_struct_pages_for_entries(
    start_pfn: int, below: bool
) -> None:
    kernel = machine(MemremapPages(0, (pages(start_pfn, 28),), "generic", 0, (), vmemmap_shift=4))
    laws = {entry.law for entry in kernel.ledger.breaches}
    assert (Law.MAPPED_BELOW_A_HUGE_PAGE in laws) == below


def test_a_compound_page_holds_one_reference_on_its_map() -> None:
    kernel = machine(MemremapPages(0, (C,), "generic", 0, (), vmemmap_shift=2))
    assert kernel.pgmaps[0].nr_refs == 3
    assert do(kernel, MemunmapPages(0)) is None
    assert not kernel.pgmaps


@pytest.mark.parametrize(
    ("kind", "since", "before"),
    [("private", "4.14", "4.13"), ("pci_p2pdma", "4.20", "4.19"), ("coherent", "6.0", "5.19")],
)
def test_a_type_of_memory_is_refused_before_it_came(kind: str, since: str, before: str) -> None:
    for release, refusal in ((since, None), (before, errno.EINVAL)):
        kernel = boot(rules=KernelVariant.named(release, ()).rules())
        assert do(kernel, device(D, kind=kind)) == refusal
        drawn = {op.type for op in draws(kernel, MemremapPages) if isinstance(op, MemremapPages)}
        assert (kind in drawn) == (refusal is None)


@pytest.mark.parametrize("release", ["4.14", "5.3", "5.10", "5.17"])
def test_private_maps_count_until_27674ef6c73f(release: str) -> None:
    kernel = boot(rules=KernelVariant.named(release, ()).rules())
    assert do(kernel, device(D, kind="private")) is None
    assert kernel.devmap_managed_key == 1
    assert do(kernel, MemunmapPages(0)) is None
    assert kernel.devmap_managed_key == 0


def test_zone_device_spans_its_pages_and_has_none_present() -> None:
    kernel = machine(device(HOLE, pages(20, 22)))
    zone = kernel.zone(0, ZoneType.ZONE_DEVICE)
    assert zone.span == pages(12, 22)
    assert (zone.present_pages, zone.managed_pages) == (0, 0)
    assert kernel.nodes[0].node_present_pages == 12


def test_a_node_that_is_not_there_means_node_0() -> None:
    kernel = boot()
    op = replace(layout(), nodes=2)
    kernel = machine(device(HOLE), of=op)
    assert kernel.pgmaps[0].nid == 0


# Altmaps


def test_an_altmap_page_is_initialised_without_a_map_behind_the_reserve() -> None:
    kernel = machine(device(CD, altmap=(1, 11)))
    poison, init = PageContent.POISONED, PageContent.INITIALISED
    assert column(kernel, "content", CD) == [poison, *[init] * 15]
    assert column(kernel, "page_pgmap", CD) == [*[-1] * 12, 0, 0, 0, 0]
    assert set(column(kernel, "pgmap_array", CD)) == {0}


def test_an_altmap_pays_for_alignment() -> None:
    altmap = machine(device(C, altmap=(1, 7))).pgmaps[0].altmap
    assert altmap is not None
    assert (altmap.alloc, altmap.align) == (4, 3)


def test_part_of_a_section_takes_its_memmap_from_the_allocator_whatever_the_altmap() -> None:
    kernel = machine(device(pages(16, 22), altmap=(0, 4)))
    assert set(column(kernel, "memmap", pages(16, 22))) == {MemmapOrigin.BUDDY}
    altmap = kernel.pgmaps[0].altmap
    assert altmap is not None
    assert altmap.alloc == 0


def test_the_altmap_gets_everything_back() -> None:
    kernel = machine(device(CD, altmap=(0, 8)))
    pgmap = kernel.pgmaps[0]
    assert do(kernel, GONE) is None
    assert pgmap.altmap is not None
    assert (pgmap.altmap.alloc, kernel.ledger.breaches) == (0, [])


# What unmapping does


def test_an_unmapped_hole_is_valid_but_neither_populated_nor_online() -> None:
    kernel = machine(device(HOLE), GONE)
    x = kernel.extents()
    assert x.where(x.pfn_valid) == (pages(0, 16),)
    assert x.where(x.subsection) == x.where(x.online_page) == (pages(0, 12),)
    assert set(column(kernel, "content", HOLE)) == {PageContent.POISONED}
    assert tainted(kernel) == [B]


def test_without_poisoning_an_unmapped_page_keeps_a_dangling_map() -> None:
    kernel = machine(device(HOLE), GONE, of="stale")
    assert set(column(kernel, "content", HOLE)) == {PageContent.STALE}
    assert set(column(kernel, "page_pgmap", HOLE)) == {0}
    assert set(column(kernel, "pgmap_array", HOLE)) == {-1}


def test_a_section_of_devices_vanishes_with_the_last_and_so_does_its_taint() -> None:
    kernel = machine(device(pages(16, 18)), device(pages(20, 22), pgmap_id=1), GONE)
    assert tainted(kernel) == [C]
    assert column(kernel, "memmap", pages(16, 18)) == [MemmapOrigin.NONE] * 2
    assert do(kernel, MemunmapPages(1)) is None
    assert kernel.pfns.fingerprint() == boot().pfns.fingerprint()


def test_the_span_of_zone_device_never_shrinks() -> None:
    kernel = machine(device(C), GONE)
    assert kernel.zone(0, ZoneType.ZONE_DEVICE).span == C
    assert kernel.nodes[0].span == pages(0, 24)


def test_every_range_of_a_map_goes() -> None:
    kernel = machine(device(pages(16, 18), pages(26, 28)), GONE)
    assert kernel.pfns.fingerprint() == boot().pfns.fingerprint()


@pytest.mark.parametrize("altmap", [(), (1, 11)])
@pytest.mark.parametrize("when", ["under_lock", "constructor"])
def test_when_device_pages_are_initialised_makes_no_difference_in_the_end(
    when: Literal["under_lock", "constructor"], altmap: tuple[int, ...]
) -> None:
    for kind in ("generic", "private"):
        ends = []
        for rules in (replace(MAINLINE, zone_device_init=when), MAINLINE):
            kernel = boot("stale", rules=rules)
            assert do(kernel, device(pages(16, 32), kind=kind, altmap=altmap)) is None
            ends.append(kernel.fingerprint())
        assert ends[0] == ends[1]


@pytest.mark.parametrize("older", [(), ("966cf44f637e",)])
def test_since_966cf44f637e_device_pages_are_read_that_wait_for_their_initialisation(
    older: tuple[str, ...],
) -> None:
    """Who looks for a zone's edge holds the lock under which they were initialised before."""
    variant = KernelVariant.named(None, ("shrink-asks-online", *older))
    kernel = boot(rules=variant.rules())
    assert do(kernel, add(D), online(3)) is None
    requests = list(draws(kernel, MemremapPages, 0))
    found = [Checker(kernel.snapshot()).apply(request).violations for request in requests]
    assert len(requests) > 10
    assert [bool(violations) for violations in found] == [not older] * len(requests)
    where = {each.milestone for violations in found for each in violations}
    assert where == (set() if older else {"memmap_init_zone_device"})


@pytest.mark.parametrize(
    ("release", "there"),
    [("4.9", False), ("4.13", False), ("4.14", True), ("5.2", True), ("5.3", False)],
)
def test_public_memory_was_there_from_4_14_to_5_2(release: str, there: bool) -> None:
    kernel = boot(rules=KernelVariant.named(release, ()).rules())
    drawn = {op.type for op in draws(kernel, MemremapPages) if isinstance(op, MemremapPages)}
    assert ("public" in drawn) == there
    assert do(kernel, device(C, kind="public")) == (None if there else errno.EINVAL)


def test_public_memory_is_mapped_counted_and_nobody_can_mend_it() -> None:
    kernel = boot(rules=replace(MAINLINE, device_public=True))
    before = kernel.pfns.fingerprint()
    outcome = Checker(kernel).apply(device(C, kind="public"))
    assert (outcome.refusal, outcome.violations) == (None, [])
    assert kernel.pfns.at(16, "linear_map") == LinearMap.MAPPED
    assert (kernel.pfns.at(16, "refcount"), kernel.pgmaps[0].nr_refs) == (1, 1 + C.nr_pages)
    assert do(kernel, HardOfflinePage(16, mapped=True)) == errno.ENXIO
    assert do(kernel, GONE) is None
    assert kernel.pfns.fingerprint() == before


@pytest.mark.parametrize("part", ["migrate_to_ram", "page_free", "owner"])
def test_what_a_type_does_not_require_may_be_left_out(part: str) -> None:
    for kind in ("fs_dax", "generic", "pci_p2pdma"):
        assert do(boot(), forgets(part, kind)) is None
    assert do(boot(), forgets("migrate_to_ram", "coherent")) is None


def test_the_static_key_counts_maps_whose_driver_frees_its_pages() -> None:
    kernel = machine(device(HOLE, kind="fs_dax"), device(C, pgmap_id=1, kind="private"))
    assert kernel.devmap_managed_key == kernel.snapshot().devmap_managed_key == 1
    assert do(kernel, MemunmapPages(1)) is None
    assert kernel.devmap_managed_key == 1
    assert do(kernel, GONE) is None
    assert kernel.devmap_managed_key == 0


def test_a_map_that_fails_puts_the_key_that_it_got() -> None:
    kernel = boot()
    assert do(kernel, device(HOLE, HOLE, kind="fs_dax")) == errno.ENOMEM
    assert kernel.devmap_managed_key == 0


def test_a_map_that_nobody_kills_is_found_until_it_is_gone() -> None:
    rules = replace(
        MAINLINE, memunmap_kills_reference=False, memunmap_waits_for_references=False
    )
    kernel = boot(rules=rules)
    assert do(kernel, device(HOLE)) is None
    found = {}
    run(GONE.steps(kernel), lambda passed: found.update({passed: finds(kernel)}))
    assert "percpu_ref_kill" not in found
    assert found["remove_pfn_range_from_zone"] is True
    assert found["percpu_ref_exit"] is False


def finds(kernel: Kernel) -> bool:
    """Whether get_dev_pagemap() returns a map for the hole."""
    x = kernel.extents()
    return bool((x.dev_pagemap >= 0).any())
