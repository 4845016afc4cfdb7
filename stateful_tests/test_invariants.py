"""Every invariant holds on sound machines, and is broken by the machine that it is about."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from hotplug_model.arrays import ExtentMask
from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import QUIESCENT, Checker
from hotplug_model.errors import KernelRefusal
from hotplug_model.extents import Extents
from hotplug_model.flags import (
    TAINTED,
    BlockState,
    LinearMap,
    MappingLevel,
    MemmapOrigin,
    MemoryClass,
    PageContent,
    PageFlag,
    PageUser,
    SectionFlag,
    ZoneType,
)
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.invariants import INVARIANTS, Invariant
from hotplug_model.invariants.refusals import refusals_leave_the_machine_alone
from hotplug_model.kernel import Kernel
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.mm.zones import adjust_present_page_count, resize_zone_range, set_span
from hotplug_model.ops.hugetlb import AllocPoolHugeFolio
from hotplug_model.ops.hv_balloon import HotAddReq
from hotplug_model.pfn import PfnRange
from hotplug_model.state.ledger import Law
from hotplug_model.state.resource import NAMELESS, Resource
from hotplug_model.state.virtio_mem import VirtioMem
from stateful_tests.kernels import (
    HOLE,
    A,
    B,
    C,
    D,
    add,
    boot,
    busy,
    device,
    do,
    online,
    pages,
    walk,
)

every_invariant = pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda each: each.name)
FIRST = pages(0, 2)
"""Two online pages of ZONE_DMA."""
HALF = pages(8, 12)
"""The RAM of the section that the device shares."""
NOWHERE = PfnRange(0, 32)
"""What a violation names that has no place: every pfn."""
UNOWNED = {"online_pages_are_initialised", "present_pages_add_up"}
"""Echoes: a page that nobody owns is counted by nobody either."""


@dataclass(frozen=True)
class Broken:
    """A machine that breaks an invariant at *pfns*, and what echoes it."""

    kernel: Kernel
    pfns: tuple[PfnRange, ...]
    echoes: set[str]


def corrupt(
    change: Callable[[Kernel], object], *pfns: PfnRange, echoes: set[str] | None = None,
    of: Callable[[], Kernel] = busy,
) -> Broken:  # fmt: skip
    """The busy machine, or another, with one store gone wrong."""
    kernel = of()
    change(kernel)
    kernel.pfns.merge()
    return Broken(kernel, pfns, echoes or set())


def write(pfns: PfnRange, **values: int) -> Callable[[Kernel], object]:
    return lambda kernel: kernel.pfns.write(pfns, **values)


def denies_the_first_row(x: Extents) -> ExtentMask:
    """A pfn_to_online_page() that never grants page 0."""
    granted: ExtentMask = MAINLINE.pfn_to_online_page(x) & (x.start_pfn > 0)
    return granted


def breach(law: Law) -> Callable[[Kernel], object]:
    return lambda kernel: kernel.ledger.breach(law, C)


def leaves_a_huge_page(kernel: Kernel) -> None:
    """Vmemmap that is mapped and accounted for, but describes nothing."""
    pages = kernel.geometry.memmap_of(D)
    kernel.vmemmap.write(pages, level=MappingLevel.PMD, origin=MemmapOrigin.BUDDY)
    kernel.ledger.allocated(MemmapOrigin.BUDDY, pages.nr_pages)


def hosts_in_ram(kernel: Kernel) -> None:
    """The memmap of C turns out to lie in memory that the buddy allocator has."""
    pages = kernel.geometry.memmap_of(C)
    offset = -pages.start_pfn
    kernel.vmemmap.write(pages, origin=MemmapOrigin.SELF_HOSTED, offset=offset)
    kernel.ledger.freed(MemmapOrigin.BUDDY, pages.nr_pages)


def lends_all_but_the_last_part(kernel: Kernel) -> None:
    """D turns out to be lent by a hypervisor, but for its last sub-block."""
    kernel.lender = VirtioMem(
        region=D, nid=0, block_pages=8, part_pages=2, states={3: 7}, plugged={3: 0b0111},
        backed={3: 0b0111},
    )  # fmt: skip


def believes_that_all_is_plugged(kernel: Kernel) -> None:
    """As before, and the driver does not know."""
    lends_all_but_the_last_part(kernel)
    assert isinstance(kernel.lender, VirtioMem)
    kernel.lender.plugged[3] = 0b1111


def takes_the_last_part_back(kernel: Kernel) -> None:
    """As before, and the buddy allocator knows, but nobody says so in the struct pages."""
    lends_all_but_the_last_part(kernel)
    kernel.pfns.clear_bits(pages(30, 32), "page_flags", PageFlag.MANAGED)


def on_hyper_v() -> Kernel:
    """The host has backed the first half of C, which is online."""
    kernel = boot("hyper-v")
    assert do(kernel, HotAddReq(pages(16, 20)), online(2)) is None
    return kernel


def with_c_offline_and_readable() -> Kernel:
    kernel = boot(rules=KernelVariant.named(None, ("0daa322b8ff9",)).rules())
    assert do(kernel, add(C)) is None
    return kernel


def with_d_added() -> Kernel:
    """Memory that nobody has put online."""
    kernel = boot()
    assert do(kernel, add(D)) is None
    return kernel


def two_devices() -> Kernel:
    """Two maps in sections of their own, without RAM in reach."""
    kernel = boot()
    assert do(kernel, device(C), device(D, pgmap_id=1)) is None
    return kernel


def a_lender_and_another() -> Kernel:
    """Two maps, the first of which holds its own memmap, with room for a page more."""
    kernel = boot()
    assert do(kernel, device(C, altmap=(0, 5)), device(D, pgmap_id=1)) is None
    return kernel


def lends_to_another(kernel: Kernel) -> None:
    """The first page of D's memmap lies in C, as the altmap counts it."""
    pages = kernel.geometry.memmap_of(D)
    first = PfnRange(pages.start_pfn, pages.start_pfn + 1)
    origin = int(MemmapOrigin.ALTMAP)
    kernel.vmemmap.write(first, origin=origin, offset=C.start_pfn + 4 - first.start_pfn)
    altmap = kernel.pgmaps[0].altmap
    assert altmap is not None
    altmap.alloc += 1
    kernel.ledger.freed(MemmapOrigin.BUDDY, 1)


def lends_to_a_dump(kernel: Kernel) -> None:
    """As above, and the kernel that dumps a crashed one asks nobody."""
    takes_the_last_part_back(kernel)
    kernel.pfns.set_bits(pages(30, 32), "page_flags", PageFlag.PG_offline)
    kernel.rules = replace(kernel.rules, answers_vmcore=frozenset())


def with_a_huge_page() -> Kernel:
    """Struct pages of 6 and 7 are those of 4 and 5, which begin it."""
    kernel = boot("hugetlb")
    assert do(kernel, AllocPoolHugeFolio(pages(4, 8))) is None
    return kernel


def reads_zones_from_pages() -> Kernel:
    """As before 5.18: no memory block knows its zone."""
    return boot(rules=replace(MAINLINE, block_zone_is_cached=False))


BREAKS: dict[str, Callable[[], Broken]] = {
    "section_mem_map_leads_to_the_memmap": lambda: corrupt(
        lambda k: k.pfns.set_bits(C, "section_flags", SectionFlag.ASTRAY), C
    ),
    "tainted_sections_met_a_device": lambda: corrupt(
        lambda k: k.pfns.set_bits(C, "section_flags", SectionFlag.TAINT_ZONE_DEVICE), C
    ),
    "zones_of_blocks_are_not_read_blind": lambda: corrupt(
        write(HOLE, content=PageContent.ZEROED), HOLE, of=reads_zones_from_pages
    ),
    "fallback_lists_name_nodes_with_memory": lambda: corrupt(
        lambda k: setattr(k.nodes[0], "listed", 0), NOWHERE
    ),
    "regions_keep_their_names": lambda: corrupt(
        lambda k: k.iomem.request(Resource(NAMELESS, D, busy=False)), D, of=boot
    ),
    "pageblocks_have_a_migratetype": lambda: corrupt(
        lambda k: k.pfns.set_bits(HOLE, "page_flags", PageFlag.UNTYPED), HOLE
    ),
    "offlining_finds_what_is_free": lambda: corrupt(breach(Law.PARKED), C),
    "vmemmap_is_freed_as_it_was_given": lambda: corrupt(breach(Law.FREED_UNSPLIT), C),
    "aliased_struct_pages_are_huge": lambda: corrupt(
        lambda k: k.pfns.clear_bits(pages(6, 8), "page_flags", PageFlag.HUGETLB), pages(6, 8),
        of=with_a_huge_page,
    ),
    "workers_wait_for_no_signal": lambda: corrupt(breach(Law.WORKER_WAITS_FOR_A_SIGNAL), C),
    "vmemmap_is_written_when_all_have_it": lambda: corrupt(breach(Law.WRITTEN_BEFORE_SYNC), C),
    "broken_pages_are_unmapped_locked": lambda: corrupt(breach(Law.UNMAPPED_UNLOCKED), C),
    "unplugged_memory_is_not_dumped": lambda: corrupt(
        lends_to_a_dump, pages(30, 32),
        echoes={"managed_pages_add_up", "online_pages_belong_to_somebody"},
    ),
    "pages_count_the_references_on_them": lambda: corrupt(
        write(FIRST, users=PageUser.VFIO), FIRST
    ),
    "nobody_dirties_device_pages": lambda: corrupt(
        lambda k: k.pfns.set_bits(HOLE, "page_flags", PageFlag.PG_dirty), HOLE
    ),
    "pages_outlive_the_references_on_them": lambda: corrupt(breach(Law.GONE_UNDER_A_REFERENCE), C),
    "users_decide_as_rightly_as_they_did": lambda: corrupt(
        lambda k: k.pfns.clear_bits(HOLE, "page_flags", PageFlag.PG_reserved), HOLE
    ),
    "broken_pages_do_not_come_back": lambda: corrupt(
        lambda k: setattr(k.blocks[0], "broken", (0,)), pages(0, 1),
        echoes={"num_poisoned_pages_add_up"},
    ),
    "zones_keep_below_their_limits": lambda: corrupt(
        write(HALF, zone=ZoneType.ZONE_DMA), HALF,
        echoes={"managed_pages_add_up", "memory_blocks_know_their_zone", "present_pages_add_up",
                "walkers_miss_no_online_page", "zone_spans_cover_their_pages"},
    ),
    "num_poisoned_pages_add_up": lambda: corrupt(
        lambda k: setattr(k, "num_poisoned_pages", 1), NOWHERE
    ),
    "memory_block_devices_are_let_go": lambda: corrupt(
        lambda k: setattr(k.blocks[1], "references", 1), B
    ),
    "walkers_take_no_zone_device_page": lambda: corrupt(
        lambda k: k.pfns.clear_bits(B, "section_flags", SectionFlag.TAINT_ZONE_DEVICE), HOLE
    ),
    "walkers_read_no_poisoned_page": lambda: corrupt(
        write(FIRST, content=PageContent.POISONED), FIRST, echoes=UNOWNED
    ),
    "walkers_take_no_stale_page": lambda: corrupt(
        write(FIRST, content=PageContent.STALE), FIRST, echoes=UNOWNED
    ),
    "walkers_take_no_uninitialised_page": lambda: corrupt(
        write(FIRST, content=PageContent.ZEROED), FIRST, echoes=UNOWNED
    ),
    "walkers_read_mapped_pages": lambda: corrupt(
        write(FIRST, memmap=MemmapOrigin.NONE), FIRST, echoes={"valid_pfns_have_a_struct_page"}
    ),
    "walkers_miss_no_online_page": lambda: Broken(
        boot(rules=replace(MAINLINE, pfn_to_online_page=denies_the_first_row)), (FIRST,), set()
    ),
    "memory_that_is_offline_is_not_read": lambda: Broken(
        with_c_offline_and_readable(), (C,), set()
    ),
    "memory_is_read_through_the_linear_map": lambda: corrupt(
        write(FIRST, linear_map=LinearMap.NONE), FIRST, echoes={"addressable_memory_is_mapped"}
    ),
    "addressable_memory_is_mapped": lambda: corrupt(write(C, linear_map=LinearMap.NONE), C),
    "kernel_zones_are_in_the_linear_map": lambda: corrupt(
        write(FIRST, linear_map=LinearMap.HIGHMEM), FIRST
    ),
    "unaddressable_memory_is_not_mapped": lambda: corrupt(
        write(HOLE, memory=MemoryClass.UNADDRESSABLE), HOLE
    ),
    "the_linear_map_ends_with_its_memory": lambda: corrupt(
        write(D, linear_map=LinearMap.MAPPED), D, of=boot
    ),
    "memory_is_removed_as_what_it_was_added": lambda: corrupt(
        breach(Law.REMOVED_AS_ANOTHER_CLASS), C
    ),
    "valid_pfns_have_a_struct_page": lambda: corrupt(
        write(C, memmap=MemmapOrigin.NONE), C
    ),
    "populated_subsections_are_valid": lambda: corrupt(
        write(pages(24, 26), subsection=1), pages(24, 26), of=boot
    ),
    "online_sections_are_valid": lambda: corrupt(
        write(D, section_flags=SectionFlag.IS_ONLINE), D, of=boot
    ),
    "online_sections_are_online_blocks": lambda: corrupt(
        lambda k: k.pfns.clear_bits(D, "section_flags", SectionFlag.IS_ONLINE), D
    ),
    "memory_blocks_hold_no_device_memory": lambda: corrupt(
        write(C, pgmap_array=0), C, echoes={"pgmap_array_holds_the_maps"}
    ),
    "online_pages_are_initialised": lambda: corrupt(
        write(HALF, content=PageContent.GARBAGE), HALF,
        echoes={"present_pages_add_up", "walkers_take_no_uninitialised_page"},
    ),
    "buddy_pages_are_system_ram": lambda: corrupt(
        lambda k: k.pfns.set_bits(HOLE, "page_flags", PageFlag.MANAGED), HOLE,
        echoes={"managed_pages_add_up"}, of=boot,
    ),
    "memory_blocks_lie_in_system_ram": lambda: corrupt(
        lambda k: k.iomem.release_adjustable(C), C
    ),
    "vmemmap_is_freed_once": lambda: corrupt(breach(Law.FREED_TWICE), C),
    "memmap_goes_back_to_its_owner": lambda: corrupt(breach(Law.FREED_TO_A_STRANGER), C),
    "vmemmap_outlives_its_pfns": lambda: corrupt(breach(Law.FREED_IN_USE), C),
    "struct_pages_are_no_page_table": lambda: corrupt(breach(Law.MAPPED_BELOW_A_HUGE_PAGE), C),
    "usage_maps_of_boot_are_kept": lambda: corrupt(breach(Law.BOOT_USAGE_FREED), C),
    "nobody_waits_for_ever": lambda: corrupt(breach(Law.CYCLE_OF_WAITS), C),
    "walkers_use_mapped_pages": lambda: corrupt(breach(Law.USED_UNMAPPED), C),
    "walkers_use_no_poisoned_page": lambda: corrupt(breach(Law.USED_POISONED), C),
    "walkers_use_what_they_looked_up": lambda: corrupt(breach(Law.USED_ANOTHERS), C),
    "nobody_reads_what_was_freed": lambda: corrupt(breach(Law.READ_AFTER_FREE), C),
    "nobody_follows_a_null_pointer": lambda: corrupt(breach(Law.NULL_READ), C),
    "zones_change_under_mem_hotplug_lock": lambda: corrupt(
        breach(Law.ZONE_CHANGED_UNLOCKED), C
    ),
    "memory_blocks_stand_for_sections": lambda: corrupt(
        lambda k: k.pfns.clear_bits(C, "section_flags", SectionFlag.HAS_MEM_MAP), C,
        echoes={"populated_subsections_are_valid", "section_mem_map_leads_to_the_memmap"},
    ),
    "lookups_stay_in_bounds": lambda: corrupt(breach(Law.READ_OUT_OF_BOUNDS), C),
    "altmaps_account_for_what_they_gave": lambda: corrupt(
        breach(Law.ALTMAP_IN_USE_AT_TEARDOWN), C
    ),
    "altmaps_back_their_own_device": lambda: corrupt(lends_to_another, C, of=a_lender_and_another),
    "offline_memory_is_in_no_zone": lambda: corrupt(
        lambda k: k.pfns.write(D, content=PageContent.INITIALISED), D, of=with_d_added,
    ),
    "memory_blocks_know_their_zone": lambda: corrupt(
        lambda k: setattr(k.blocks[3], "zone", ZoneType.ZONE_NORMAL), D
    ),
    "base_pages_hang_on_a_page_table": lambda: corrupt(
        lambda k: k.vmemmap.write(k.geometry.memmap_of(D), level=MappingLevel.PTE), D
    ),
    "allocated_vmemmap_is_mapped": lambda: corrupt(
        lambda k: k.ledger.allocated(MemmapOrigin.BUDDY, 1), NOWHERE
    ),
    "unused_vmemmap_is_freed": lambda: corrupt(leaves_a_huge_page, D, of=boot),
    "markers_claim_no_page_in_use": lambda: corrupt(write(C, content=PageContent.UNUSED), C),
    "self_hosted_memmap_is_nobodys_memory": lambda: corrupt(hosts_in_ram, pages(0, 12)),
    "devmap_managed_key_counts_its_maps": lambda: corrupt(
        lambda kernel: setattr(kernel, "devmap_managed_key", 1), NOWHERE
    ),
    "populated_device_pages_are_initialised": lambda: corrupt(
        write(pages(16, 18), content=PageContent.ZEROED), pages(16, 18), of=two_devices
    ),
    "zone_spans_cover_their_pages": lambda: corrupt(
        lambda k: setattr(k.zone(0, ZoneType.ZONE_NORMAL), "spanned_pages", 6), pages(8, 12),
        echoes={"walkers_miss_no_online_page"},
    ),
    "device_spans_cover_their_pages": lambda: corrupt(
        lambda k: set_span(k.zone(0, ZoneType.ZONE_DEVICE), D), C, of=two_devices
    ),
    "node_spans_cover_their_zones": lambda: corrupt(
        lambda k: setattr(k.nodes[0], "node_spanned_pages", 30), D
    ),
    "zone_spans_shrink": lambda: corrupt(
        lambda k: resize_zone_range(k.zone(0, ZoneType.ZONE_NORMAL), pages(2, 24)), pages(2, 24),
        echoes={"walkers_take_no_zone_device_page", "walkers_read_no_poisoned_page"},
    ),
    "node_spans_shrink": lambda: corrupt(
        lambda k: setattr(k.nodes[0], "node_spanned_pages", 16), pages(0, 16), of=boot
    ),
    "offline_pages_are_not_in_the_buddy_allocator": lambda: corrupt(
        write(pages(24, 26), page_flags=PageFlag.MANAGED | PageFlag.PG_offline), pages(24, 26)
    ),
    "online_pages_belong_to_somebody": lambda: corrupt(
        lambda k: k.pfns.clear_bits(pages(24, 26), "page_flags", PageFlag.MANAGED), pages(24, 26),
        echoes={"managed_pages_add_up"},
    ),
    "backed_memory_is_used": lambda: corrupt(
        lambda k: k.pfns.write(pages(18, 20), page_flags=PageFlag.WITHHELD), pages(18, 20),
        echoes={"managed_pages_add_up"}, of=on_hyper_v,
    ),
    "virtio_mem_knows_its_blocks": lambda: corrupt(believes_that_all_is_plugged, D,
        echoes={"unplugged_memory_is_not_in_use", "unplugged_memory_is_not_read"},
    ),
    "unplugged_memory_is_not_in_use": lambda: corrupt(
        lends_all_but_the_last_part, pages(30, 32), echoes={"unplugged_memory_is_not_read"}
    ),
    "unplugged_memory_is_not_read": lambda: corrupt(
        takes_the_last_part_back, pages(30, 32),
        echoes={"managed_pages_add_up", "online_pages_belong_to_somebody"},
    ),
    "present_pages_add_up": lambda: corrupt(
        lambda k: adjust_present_page_count(k, 0, ZoneType.ZONE_NORMAL, 1), pages(2, 12),
        echoes={"zones_change_under_mem_hotplug_lock"},
    ),
    "managed_pages_add_up": lambda: corrupt(
        lambda k: k.pfns.clear_bits(FIRST, "page_flags", PageFlag.MANAGED), FIRST,
        echoes={"online_pages_belong_to_somebody", "users_decide_as_rightly_as_they_did"},
    ),
    "nodes_count_what_their_zones_count": lambda: corrupt(
        lambda k: setattr(k.nodes[0], "node_present_pages", 21), pages(0, 32)
    ),
    "pgmap_array_holds_the_maps": lambda: corrupt(
        write(D, pgmap_array=7), D, of=boot
    ),
    "device_pages_point_to_their_map": lambda: corrupt(
        write(pages(16, 18), page_pgmap=1), pages(16, 18), of=two_devices
    ),
    "populated_device_pages_have_a_map": lambda: corrupt(
        write(D, pgmap_array=-1), D, echoes={"pgmap_array_holds_the_maps"}, of=two_devices
    ),
    "pgmap_references_count_the_pages": lambda: corrupt(
        lambda k: setattr(k.pgmaps[0], "nr_refs", 4), HOLE
    ),
}  # fmt: skip


ACROSS = {
    "notifiers_hear_how_it_ended",
    "refusals_leave_the_machine_alone", "offlining_waits_for_nobody_but_holders",
    "requests_are_refused_for_a_reason", "requests_that_cannot_be_met_are_refused",
    "requests_that_are_granted_are_carried_out",
}  # fmt: skip
"""Invariants that compare two moments: they have tests of their own."""


def failing(invariant: Invariant, kernel: Kernel) -> tuple[PfnRange, ...]:
    """Where a machine breaks an invariant that looks at one moment."""
    x = kernel.extents()
    if invariant.always is not None:
        return x.where(invariant.always(x))
    return tuple(invariant.law(x)) if invariant.law is not None else ()


@pytest.mark.parametrize("geometry", GEOMETRIES.names())
@pytest.mark.parametrize("layout", LAYOUTS.names())
def test_every_invariant_holds_right_after_boot(layout: str, geometry: str) -> None:
    kernel = boot(layout, geometry)
    assert {each.name for each in INVARIANTS if failing(each, kernel)} == set()


@every_invariant
def test_every_invariant_holds_on_a_busy_machine(invariant: Invariant) -> None:
    assert failing(invariant, busy()) == ()


@every_invariant
def test_every_invariant_fails_where_it_should_and_with_its_echoes_only(
    invariant: Invariant,
) -> None:
    if invariant.across is not None:
        assert invariant.name in ACROSS
        return
    broken = BREAKS[invariant.name]()
    assert failing(invariant, broken.kernel) == broken.pfns
    found = {v.invariant for v in Checker(broken.kernel, strict=True).look(QUIESCENT)}
    assert found == {invariant.name} | broken.echoes


@every_invariant
def test_every_invariant_is_a_sentence_with_its_authority(invariant: Invariant) -> None:
    assert invariant.message.endswith(".")
    assert "()" in invariant.source or "commit " in invariant.source


@pytest.mark.parametrize("name", BREAKS)
def test_an_invariant_is_asked_at_milestones_unless_it_is_quiescent(name: str) -> None:
    broken = BREAKS[name]()
    found = {v.invariant for v in Checker(broken.kernel, strict=True).look("midway")}
    assert (name in found) != INVARIANTS[name].quiescent


def test_system_ram_without_a_memory_block_is_broken() -> None:
    kernel = boot()
    kernel.iomem.request(Resource("System RAM", D))
    assert failing(INVARIANTS["memory_blocks_lie_in_system_ram"], kernel) == (D,)


def test_a_map_that_is_dying_has_no_references_to_count() -> None:
    kernel = busy()
    kernel.pgmaps[0].ref = kernel.pgmaps[0].ref.KILLED
    assert failing(INVARIANTS["pgmap_references_count_the_pages"], kernel) == (HOLE,)


def test_the_edge_that_boot_drew_in_a_hole_is_no_slack() -> None:
    kernel = boot("holes-in-zone")
    kernel.set_block_state(1, BlockState.NONE)
    del kernel.blocks[1]
    assert failing(INVARIANTS["zone_spans_shrink"], kernel) == ()


REFUSED = KernelRefusal(errno.EINVAL)
CHANGED: dict[str, tuple[Callable[[Kernel], object], list[PfnRange]]] = {
    "section flags": (write(A, section_flags=SectionFlag.USAGE), [FIRST, pages(2, 8)]),
    "subsection": (write(HALF, subsection=0), [HALF]),
    "memmap": (write(A, memmap=MemmapOrigin.BUDDY), [FIRST, pages(2, 8)]),
    "pgmap_array": (write(HOLE, pgmap_array=-1), [HOLE]),
    "block": (write(C, block=BlockState.NONE), [C]),
    "zone span": (
        lambda k: setattr(k.zone(0, ZoneType.ZONE_MOVABLE), "spanned_pages", 0), [D]
    ),
    "a zone's end": (
        lambda k: setattr(k.zone(0, ZoneType.ZONE_NORMAL), "spanned_pages", 14), [pages(14, 16)]
    ),
    "both ends of a zone": (
        lambda k: set_span(k.zone(0, ZoneType.ZONE_NORMAL), pages(4, 10)),
        [pages(2, 4), pages(10, 12)],
    ),
    "the count of an empty zone": (
        lambda k: setattr(k.zone(0, ZoneType.ZONE_DMA32), "present_pages", 1), [pages(0, 0)]
    ),
    "present pages": (
        lambda k: setattr(k.zone(0, ZoneType.ZONE_MOVABLE), "present_pages", 0), [D]
    ),
    "managed pages": (
        lambda k: setattr(k.zone(0, ZoneType.ZONE_MOVABLE), "managed_pages", 7), [D]
    ),
    "pages with an online memmap": (
        lambda k: setattr(k.zone(0, ZoneType.ZONE_MOVABLE), "pages_with_online_memmap", 1), [D]
    ),
    "a block's zone": (lambda k: setattr(k.blocks[3], "zone", None), [NOWHERE]),
    "a map": (lambda k: k.pgmaps.clear(), [NOWHERE]),
    "a region": (lambda k: k.iomem.release(D), [NOWHERE]),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGED)
def test_a_refused_operation_must_not_change(what: str) -> None:
    change, pfns = CHANGED[what]
    before, after = busy(), busy()
    change(after)
    assert refusals_leave_the_machine_alone(before, REFUSED, after) == pfns


@pytest.mark.parametrize("what", CHANGED)
def test_an_operation_that_succeeds_may_change(what: str) -> None:
    after = busy()
    CHANGED[what][0](after)
    assert refusals_leave_the_machine_alone(busy(), None, after) == []


FREE_TO_CHANGE: dict[str, Callable[[Kernel], object]] = {
    "nothing": lambda k: None,
    "the contents of offline memory": write(C, content=PageContent.STALE),
    "the taint": lambda k: k.pfns.set_bits(A, "section_flags", TAINTED),
    "the span of ZONE_DEVICE": lambda k: setattr(
        k.zone(0, ZoneType.ZONE_DEVICE), "spanned_pages", 20
    ),
    "the type to online a block with": lambda k: setattr(k.blocks[2], "online_type", 3),
}


@pytest.mark.parametrize("what", FREE_TO_CHANGE)
def test_a_refused_operation_may_change(what: str) -> None:
    after = busy()
    FREE_TO_CHANGE[what](after)
    assert refusals_leave_the_machine_alone(busy(), REFUSED, after) == []


@pytest.mark.unmeasured
def test_refusals_do_not_change_the_machine_on_random_walks() -> None:
    refused = 0
    for seed, name in enumerate(LAYOUTS.names()):
        for _, outcome in walk(Checker(boot(name)), seed, 20):
            assert outcome.violations == []
            refused += outcome.refusal is not None
    assert refused > 20
