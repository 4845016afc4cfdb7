"""Who has the memory behind the memmap: what each architecture takes, shares, frees, leaks.

On the tiny geometries a section has 8 pages and a subsection 2; a page of vmemmap holds two
struct pages, or four of 64K pages::

    pfns       A [0-8)    B [8-16)    C [16-24)   D [24-32)      B ends in a hole [12-16)
    vmemmap      0 .. 3     4 .. 7      8 .. 11     12 .. 15
"""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest

from hotplug_model import steps
from hotplug_model.changes import CHANGES
from hotplug_model.flags import (
    MHP_MEMMAP_ON_MEMORY,
    MappingLevel,
    MemmapOrigin,
    PageContent,
    SectionFlag,
)
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.invariants import INVARIANTS
from hotplug_model.kernel import Kernel
from hotplug_model.mm.add_pages import add_pages, remove_pages
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.mm.sparse_vmemmap import described_and_valid
from hotplug_model.ops import Op
from hotplug_model.ops.memory_hotplug import AddMemory
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import KernelRules
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.ledger import Cause, Law
from hotplug_model.state.vmemmap import NOWHERE
from stateful_tests.kernels import (
    HOLE,
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
    remove,
)

BOOT, BUDDY = MemmapOrigin.BOOT, MemmapOrigin.BUDDY
ALTMAP, SELF_HOSTED = MemmapOrigin.ALTMAP, MemmapOrigin.SELF_HOSTED
PTE, PMD = MappingLevel.PTE, MappingLevel.PMD
CD = pages(16, 32)
THIRD, FOURTH = pages(128, 192), pages(192, 256)
"""Of tiny_56: 28 pages of vmemmap each; they share the huge page [64-96) of 32."""


def machine(geometry: str, *ops: Op, of: str = "collision", **fields: Any) -> Kernel:
    """A machine of its own rules, after *ops*, of which none is refused."""
    kernel = boot(of, geometry, replace(MAINLINE, **fields))
    assert do(kernel, *ops) is None
    kernel.vmemmap.merge()
    return kernel


def part(geometry: str, start: int, end: int, pgmap_id: int = 0) -> Op:
    """A device from one quarter of section C to another, C having four."""
    size = boot(geometry=geometry).geometry.pages_per_subsection
    first = 2 * boot(geometry=geometry).geometry.pages_per_section
    pfns = pages(first + start * size, first + end * size)
    return device(pfns, pgmap_id=pgmap_id)


def compound(*ranges: PfnRange, shift: int, altmap: tuple[int, ...] = ()) -> Op:
    return MemremapPages(0, ranges, "generic", 0, altmap, shift)


def levels(kernel: Kernel, pfns: PfnRange) -> list[MappingLevel]:
    """How each page of vmemmap is mapped that holds a struct page of *pfns*."""
    found = kernel.geometry.memmap_of(pfns)
    return [
        MappingLevel(kernel.vmemmap.at(page, "level"))
        for page in range(found.start_pfn, found.end_pfn)
    ]


def tables(kernel: Kernel, pfns: PfnRange) -> list[int]:
    regions = kernel.geometry.huge_regions(kernel.geometry.memmap_of(pfns))
    return [kernel.vmemmap.at(region.start_pfn, "page_table") for region in regions]


def taken(kernel: Kernel) -> dict[MemmapOrigin, int]:
    """Pages in use beyond what boot took, by origin."""
    before = boot(kernel.layout, rules=kernel.rules, geometry=name_of(kernel)).vmemmap.live_pages()
    now = kernel.vmemmap.live_pages()
    return {origin: now[origin] - before[origin] for origin in now if now[origin] != before[origin]}


def name_of(kernel: Kernel) -> str:
    return next(n for n, geometry in GEOMETRIES.items() if geometry == kernel.geometry)


def laws(kernel: Kernel) -> set[Law]:
    return {entry.law for entry in kernel.ledger.breaches}


def holds(kernel: Kernel, name: str) -> bool:
    law = INVARIANTS[name].law
    assert law is not None
    return not law(kernel.extents())


def altmap_of(kernel: Kernel, pgmap_id: int = 0) -> Altmap:
    altmap = kernel.pgmaps[pgmap_id].altmap
    assert altmap is not None
    return altmap


def gone(kernel: Kernel) -> bool:
    """Whether vmemmap and its books are as after boot."""
    fresh = boot(kernel.layout, rules=kernel.rules, geometry=name_of(kernel))
    same = kernel.vmemmap.fingerprint() == fresh.vmemmap.fingerprint()
    return same and +kernel.ledger.outstanding == +fresh.ledger.outstanding


# x86


def test_x86_maps_a_section_with_a_huge_page() -> None:
    kernel = machine("tiny", add(C))
    assert levels(kernel, C) == [PMD] * 4
    assert tables(kernel, C) == [0]
    assert taken(kernel) == {BUDDY: 4}


def test_x86_maps_a_part_of_a_section_with_base_pages() -> None:
    kernel = machine("tiny", device(pages(16, 20)))
    assert levels(kernel, C) == [PTE, PTE, MappingLevel.NONE, MappingLevel.NONE]
    assert tables(kernel, C) == [1]
    assert taken(kernel) == {BUDDY: 2}


def test_x86_maps_base_pages_where_no_huge_page_can_be_had() -> None:
    kernel = machine("tiny", replace(add(C), fail_at=None))
    kernel = boot()
    kernel.faults.arm("vmemmap_huge")
    assert do(kernel, add(C)) is None
    assert levels(kernel, C) == [PTE] * 4
    assert tables(kernel, C) == [1]


def test_x86_takes_huge_pages_from_the_altmap() -> None:
    kernel = machine("tiny", device(C, altmap=(0, 4)))
    assert taken(kernel) == {ALTMAP: 4}
    assert 8 + kernel.vmemmap.at(8, "offset") == C.start_pfn
    assert altmap_of(kernel).alloc == 4


def test_x86_takes_no_base_page_from_the_altmap() -> None:
    kernel = machine("tiny", device(pages(16, 18), altmap=(0, 1)))
    assert taken(kernel) == {BUDDY: 1}
    assert altmap_of(kernel).alloc == 0


def test_x86_does_not_fall_back_where_the_altmap_has_no_huge_page() -> None:
    kernel = boot()
    assert do(kernel, device(C, altmap=(0, 3))) == errno.ENOMEM
    kernel.vmemmap.merge()
    assert gone(kernel)


def test_an_altmap_aligns_what_it_gives_and_forgets_the_loss() -> None:
    kernel = machine("tiny", device(C, altmap=(1, 7)))
    altmap = altmap_of(kernel)
    assert (altmap.align, altmap.alloc) == (3, 4)
    assert 8 + kernel.vmemmap.at(8, "offset") == 20


def test_a_block_may_hold_its_own_memmap() -> None:
    kernel = machine("tiny", add(C, mhp_flags=MHP_MEMMAP_ON_MEMORY), of="memmap-on-memory")
    assert taken(kernel) == {SELF_HOSTED: 4}
    assert kernel.ledger.outstanding[SELF_HOSTED] == 0


@pytest.mark.parametrize("fail_at", ["vmemmap_page", "vmemmap_page:1", "page_table", "usage"])
def test_a_part_that_cannot_be_mapped_leaves_nothing(fail_at: str) -> None:
    kernel = boot()
    kernel.faults.arm(fail_at)
    assert do(kernel, device(pages(16, 20))) == errno.ENOMEM
    kernel.vmemmap.merge()
    assert gone(kernel)


def test_a_page_of_ptes_goes_with_the_last_of_them() -> None:
    kernel = machine("tiny", device(pages(16, 18)), device(pages(20, 22), pgmap_id=1))
    assert do(kernel, MemunmapPages(0)) is None
    assert tables(kernel, C) == [1]
    assert do(kernel, MemunmapPages(1)) is None
    assert tables(kernel, C) == [0]


def test_the_hole_of_an_early_section_takes_no_memory() -> None:
    kernel = machine("tiny", device(HOLE))
    assert taken(kernel) == {}
    assert do(kernel, MemunmapPages(0)) is None
    assert kernel.pfns.at(12, "memmap") == BOOT


def test_the_memmap_of_boot_goes_with_its_section() -> None:
    kernel = machine("tiny", offline(1), remove(B), of="two-nodes")
    assert taken(kernel) == {BOOT: -4}
    assert kernel.ledger.outstanding[BOOT] == 4
    assert laws(kernel) == set()


# x86 where sections share huge pages


def test_sections_share_a_huge_page_that_goes_with_the_last() -> None:
    kernel = machine("tiny_56", add(THIRD), add(FOURTH))
    assert taken(kernel) == {BUDDY: 64}
    assert do(kernel, remove(THIRD)) is None
    assert taken(kernel) == {BUDDY: 64}
    assert do(kernel, remove(FOURTH)) is None
    assert taken(kernel) == {}


def test_what_is_in_front_of_the_first_part_is_marked() -> None:
    kernel = machine("tiny_56", add(FOURTH), of="stale")
    assert kernel.pfns.at(191, "content") == PageContent.UNUSED
    assert kernel.pfns.at(192, "content") == PageContent.ZEROED


def test_what_is_behind_it_is_remembered_only() -> None:
    kernel = machine("tiny_56", add(THIRD), of="stale")
    assert kernel.vmemmap.unused_pmd_start == 84
    assert kernel.pfns.at(192, "content") == PageContent.ZEROED


def test_what_was_remembered_is_used_by_the_next_section_without_a_mark() -> None:
    kernel = machine("tiny_56", add(THIRD), add(FOURTH), of="stale")
    assert kernel.vmemmap.unused_pmd_start == 112
    assert kernel.pfns.at(192, "content") == PageContent.ZEROED


def test_what_was_remembered_is_marked_before_a_removal() -> None:
    kernel = machine("tiny_56", add(THIRD), of="stale")
    assert do(kernel, remove(THIRD)) is None
    assert kernel.vmemmap.unused_pmd_start == NOWHERE
    assert taken(kernel) == {}


def test_a_section_that_comes_back_keeps_its_huge_page_without_being_initialised() -> None:
    kernel = machine(
        "tiny_56", add(THIRD), add(FOURTH), remove(THIRD), add(THIRD), remove(FOURTH), of="stale"
    )
    assert holds(kernel, "vmemmap_outlives_its_pfns")
    assert levels(kernel, THIRD) == [PMD] * 28


def test_before_5_13_a_huge_page_that_was_used_in_part_is_never_freed() -> None:
    kernel = machine("tiny_56", add(THIRD), remove(THIRD), vmemmap_marks_unpopulated="never")
    assert taken(kernel) == {BUDDY: 32}
    assert not holds(kernel, "unused_vmemmap_is_freed")


def test_before_5_13_what_reaches_behind_all_memory_is_never_freed() -> None:
    kernel = machine(
        "tiny_56", add(THIRD), add(FOURTH), remove(THIRD), remove(FOURTH),
        vmemmap_marks_unpopulated="never",
    )  # fmt: skip
    assert taken(kernel) == {BUDDY: 32}
    assert kernel.vmemmap.at(96, "level") == PMD


def test_before_5_18_the_marker_lands_in_what_is_used() -> None:
    kernel = machine("tiny_56", add(FOURTH), of="stale", vmemmap_marks_unpopulated="misplaced")
    assert kernel.pfns.at(191, "content") == PageContent.ZEROED
    assert kernel.pfns.at(192, "content") == PageContent.UNUSED


def test_a_base_page_below_a_huge_page_makes_struct_pages_ptes() -> None:
    kernel = machine("tiny_56", add(THIRD), device(pages(192, 208)))
    assert Law.MAPPED_BELOW_A_HUGE_PAGE in laws(kernel)
    assert not holds(kernel, "struct_pages_are_no_page_table")


def test_a_base_page_beside_a_huge_page_is_sound() -> None:
    assert laws(machine("tiny", add(C), device(pages(24, 26)))) == set()


def test_a_huge_page_that_two_altmaps_share_goes_back_to_one_of_them() -> None:
    kernel = machine(
        "tiny_56", device(THIRD, altmap=(0, 64)),
        MemremapPages(1, (FOURTH,), "generic", 0, (0, 63)),
    )  # fmt: skip
    assert do(kernel, MemunmapPages(0), MemunmapPages(1)) is None
    causes = {entry.law: entry.cause for entry in kernel.ledger.breaches}
    assert causes[Law.FREED_TO_A_STRANGER] == Cause.SHARED
    assert causes[Law.ALTMAP_IN_USE_AT_TEARDOWN] == Cause.SHARED


def test_base_pages_that_go_to_the_altmap_go_to_a_stranger() -> None:
    rules: dict[str, Any] = {"altmap_gives_huge_pages_only": False}
    kernel = machine("tiny", device(pages(16, 18), altmap=(0, 1)), MemunmapPages(0), **rules)
    assert {Law.FREED_TO_A_STRANGER, Law.ALTMAP_IN_USE_AT_TEARDOWN} <= laws(kernel)
    kernel = machine("tiny", device(pages(16, 18), altmap=(0, 1)), MemunmapPages(0))
    assert laws(kernel) == set()


# arm64


def test_arm64_maps_a_section_with_a_block_and_a_part_with_base_pages() -> None:
    kernel = machine("tiny_arm64", add(C), device(pages(24, 26)))
    assert levels(kernel, C) == [PMD] * 4
    assert levels(kernel, pages(24, 26)) == [PTE]


def test_arm64_takes_base_pages_from_the_altmap_and_gives_them_back() -> None:
    kernel = machine("tiny_arm64", device(pages(16, 20), altmap=(0, 2)))
    assert taken(kernel) == {ALTMAP: 2}
    altmap = altmap_of(kernel)
    assert altmap.alloc == 2
    assert do(kernel, MemunmapPages(0)) is None
    assert (altmap.alloc, laws(kernel)) == (0, set())


def test_arm64_without_room_in_the_altmap_refuses() -> None:
    kernel = boot(geometry="tiny_arm64")
    assert do(kernel, device(pages(16, 20), altmap=(0, 1))) == errno.ENOMEM
    kernel.vmemmap.merge()
    assert gone(kernel)


@pytest.mark.parametrize(("parts", "found"), [(True, set()), (False, {Law.FREED_IN_USE})])
def test_before_6_14_arm64_freed_a_block_with_the_first_of_its_parts(
    parts: bool, found: set[Law]
) -> None:
    kernel = machine(
        "tiny_arm64", device(pages(16, 18)), device(pages(18, 20), pgmap_id=1), MemunmapPages(0),
        arm64_maps_parts_by_base_pages=parts,
    )  # fmt: skip
    assert laws(kernel) == found
    assert bool(kernel.vmemmap.at(9, "level")) == parts


def test_before_5_7_arm64_kept_what_it_had_mapped_and_used_it_again() -> None:
    kernel = machine("tiny_arm64", add(C), remove(C), arm64_frees_vmemmap=False)
    assert taken(kernel) == {BUDDY: 4}
    assert not holds(kernel, "unused_vmemmap_is_freed")
    assert do(kernel, add(C)) is None
    assert taken(kernel) == {BUDDY: 4}


def test_with_64k_pages_subsections_share_a_page_that_goes_with_the_first() -> None:
    kernel = machine(
        "tiny_arm64_64k", part("tiny_arm64_64k", 0, 1), part("tiny_arm64_64k", 1, 2, pgmap_id=1)
    )
    assert taken(kernel) == {BUDDY: 1}
    assert do(kernel, MemunmapPages(0)) is None
    assert laws(kernel) == {Law.FREED_IN_USE}
    assert kernel.ledger.breaches[0].cause == Cause.SHARED


def test_with_64k_pages_a_walk_from_an_unaligned_start_misses_the_last_page() -> None:
    kernel = machine("tiny_arm64_64k", part("tiny_arm64_64k", 1, 3))
    assert levels(kernel, pages(18, 22)) == [PTE, MappingLevel.NONE]
    assert kernel.pfns.at(19, "memmap") == BUDDY
    assert kernel.pfns.at(20, "memmap") == MemmapOrigin.NONE
    assert not holds_always(kernel, "valid_pfns_have_a_struct_page")


def holds_always(kernel: Kernel, name: str) -> bool:
    always = INVARIANTS[name].always
    assert always is not None
    x = kernel.extents()
    return x.where(always(x)) == ()


# powerpc


def test_powerpc_maps_two_sections_at_once_and_frees_them_together() -> None:
    kernel = machine("tiny_powerpc", add(C))
    assert taken(kernel) == {BUDDY: 8}
    assert do(kernel, add(D), remove(C)) is None
    assert taken(kernel) == {BUDDY: 8}
    assert do(kernel, remove(D)) is None
    assert (taken(kernel), laws(kernel)) == ({}, set())


def test_powerpc_takes_from_an_altmap_what_describes_its_device_only() -> None:
    kernel = machine("tiny_powerpc", device(CD, altmap=(0, 8)))
    assert taken(kernel) == {ALTMAP: 8}
    assert altmap_of(kernel).alloc == 8
    kernel = machine("tiny_powerpc", device(C, altmap=(0, 7)))
    assert taken(kernel) == {BUDDY: 8}


def test_powerpc_falls_back_to_ram_where_the_altmap_has_no_room() -> None:
    kernel = machine("tiny_powerpc", device(CD, altmap=(0, 7)))
    assert taken(kernel) == {BUDDY: 8}
    assert do(kernel, MemunmapPages(0)) is None
    assert (taken(kernel), laws(kernel)) == ({}, set())


def test_before_5_4_powerpc_freed_one_devices_memory_with_another() -> None:
    rules: dict[str, Any] = {"powerpc_altmap_keeps_its_bounds": False}
    ops = (
        MemremapPages(0, (pages(16, 28),), "generic", 0, (0, 8)), device(pages(28, 32), pgmap_id=1),
        MemunmapPages(0), MemunmapPages(1),
    )  # fmt: skip
    assert laws(machine("tiny_powerpc", *ops)) == set()
    found = laws(machine("tiny_powerpc", *ops, **rules))
    assert found == {Law.FREED_TO_A_STRANGER, Law.ALTMAP_IN_USE_AT_TEARDOWN}


# s390


def test_s390_maps_parts_with_large_frames_that_go_with_the_last() -> None:
    kernel = boot(geometry="tiny_s390")
    first, second = pages(16, 18), pages(18, 20)  # which nobody asks for without ZONE_DEVICE
    steps.run(add_pages(kernel, first, 0, None))
    assert taken(kernel) == {BUDDY: 2}
    assert kernel.vmemmap.unused_pmd_start == 9
    steps.run(add_pages(kernel, second, 0, None))
    steps.run(remove_pages(kernel, first, None))
    assert taken(kernel) == {BUDDY: 2}
    steps.run(remove_pages(kernel, second, None))
    assert (taken(kernel), laws(kernel)) == ({}, set())


def test_s390_maps_base_pages_where_no_large_frame_can_be_had() -> None:
    kernel = boot(geometry="tiny_s390")
    kernel.faults.arm("vmemmap_huge")
    assert do(kernel, add(C)) is None
    assert levels(kernel, C) == [PTE, PTE, PMD, PMD]
    assert tables(kernel, C) == [1, 0]


def test_s390_takes_what_is_left_in_the_altmap_page_by_page() -> None:
    kernel = boot(geometry="tiny_s390")
    altmap = Altmap(base_pfn=16, free=1, end_pfn=24, self_hosted=True)
    steps.run(add_pages(kernel, pages(16, 18), 0, altmap))
    assert (taken(kernel), levels(kernel, pages(16, 18))) == ({SELF_HOSTED: 1}, [PTE])


# Without SPARSEMEM_VMEMMAP


def classic(rules: KernelRules = MAINLINE) -> Kernel:
    return boot(replace(layout(), sparsemem_vmemmap=False), rules=rules)


def test_without_vmemmap_a_section_has_one_allocation_and_no_page_table() -> None:
    kernel = classic()
    kernel.faults.arm("vmemmap_page:1")
    assert do(kernel, add(C)) is None
    assert levels(kernel, C) == [PTE] * 4
    assert tables(kernel, C) == [0]


def test_without_vmemmap_parts_of_a_section_are_refused() -> None:
    assert do(classic(), device(pages(16, 18))) == errno.EINVAL


@pytest.mark.parametrize("first", [True, False])
def test_without_vmemmap_the_memmap_must_be_decoded_before_the_section_is_reset(
    first: bool,
) -> None:
    kernel = classic(replace(MAINLINE, memmap_freed_before_reset=first))
    assert do(kernel, add(C), remove(C)) is None
    assert laws(kernel) == (set() if first else {Law.FREED_TO_A_STRANGER})
    assert kernel.ledger.outstanding[BUDDY] == (0 if first else 4)
    assert holds(kernel, "allocated_vmemmap_is_mapped") == first


# Deduplicated compound pages


def test_a_compound_page_owns_two_pages_of_vmemmap() -> None:
    kernel = machine("tiny", compound(C, shift=3))
    assert levels(kernel, C) == [PTE] * 4
    assert taken(kernel) == {BUDDY: 2}
    assert do(kernel, MemunmapPages(0)) is None
    assert (taken(kernel), laws(kernel)) == ({}, set())


def test_the_next_section_of_a_compound_page_owns_nothing() -> None:
    kernel = machine("tiny", compound(CD, shift=4))
    assert levels(kernel, D) == [PTE] * 4
    assert [kernel.vmemmap.at(page, "tail") for page in (12, 15)] == [9, 9]
    assert taken(kernel) == {BUDDY: 2}
    assert do(kernel, MemunmapPages(0)) is None
    assert (taken(kernel), laws(kernel)) == ({}, set())


def test_two_compound_pages_own_two_pages_each() -> None:
    assert taken(machine("tiny", compound(CD, shift=3))) == {BUDDY: 4}


def test_what_a_failed_allocation_of_a_compound_page_had_mapped_is_freed() -> None:
    kernel = boot()
    kernel.faults.arm("vmemmap_page:1")
    assert do(kernel, compound(C, shift=3)) == errno.ENOMEM
    kernel.vmemmap.merge()
    assert gone(kernel)


NOT_DEDUPLICATED: dict[str, tuple[str, Op, int, dict[str, Any]]] = {
    "with an altmap": ("tiny", compound(C, shift=3, altmap=(0, 4)), 4, {}),
    "with struct pages of 56 bytes": ("tiny_56", compound(THIRD, shift=6), 32, {}),
    "on arm64": ("tiny_arm64", compound(C, shift=3), 4, {}),
    "where nothing would be an alias": ("tiny", compound(C, shift=2), 4, {}),
    "before 5.19": ("tiny", compound(C, shift=3), 4, {"vmemmap_dedup": False}),
}


@pytest.mark.parametrize("how", NOT_DEDUPLICATED)
def test_compound_pages_are_not_deduplicated(how: str) -> None:
    geometry, op, nr_pages, rules = NOT_DEDUPLICATED[how]
    kernel = machine(geometry, op, **rules)
    assert sum(taken(kernel).values()) == nr_pages
    assert not kernel.vmemmap.column("period").any()


def test_compound_pages_of_one_vmemmap_page_took_the_neighbours() -> None:
    rules: dict[str, Any] = {"vmemmap_dedup_needs_an_alias": False}
    kernel = machine("tiny", compound(pages(16, 18), shift=1), **rules)
    assert levels(kernel, pages(16, 20)) == [PTE, PTE]
    assert do(kernel, MemunmapPages(0)) is None
    assert taken(kernel) == {BUDDY: 1}
    assert not holds(kernel, "unused_vmemmap_is_freed")


def test_what_the_hash_mmu_does_not_look_at_is_not_mapped() -> None:
    kernel = machine("tiny_powerpc", compound(CD, shift=4), vmemmap_dedup_needs_the_arch=False)
    assert set(levels(kernel, CD)) == {MappingLevel.NONE}
    assert not holds(kernel, "allocated_vmemmap_is_mapped")


@pytest.mark.parametrize("counts", [True, False])
def test_an_alias_without_a_reference_frees_its_page_twice(counts: bool) -> None:
    kernel = machine(
        "tiny", compound(C, shift=3), MemunmapPages(0), vmemmap_dedup_counts_references=counts
    )
    assert (Law.FREED_TWICE in laws(kernel)) != counts


# The rest of the laws


@pytest.mark.parametrize("kind", ["generic", "private"])
def test_private_memory_goes_without_the_altmap_it_came_with(kind: str) -> None:
    kernel = machine("tiny", device(C, kind=kind, altmap=(0, 4)), MemunmapPages(0))
    found = {Law.FREED_TO_A_STRANGER, Law.ALTMAP_IN_USE_AT_TEARDOWN}
    assert laws(kernel) == (found if kind == "private" else set())
    assert {e.cause for e in kernel.ledger.breaches} <= {Cause.PRIVATE}


@pytest.mark.parametrize("kept", [True, False])
def test_the_usage_map_of_a_boot_section_that_was_added_again(kept: bool) -> None:
    kernel = machine(
        "tiny", offline(1), remove(B), add(B, nid=1), remove(B), of="two-nodes",
        boot_usage_kept=kept,
    )  # fmt: skip
    assert laws(kernel) == (set() if kept else {Law.BOOT_USAGE_FREED})
    assert bool(kernel.pfns.at(B.start_pfn, "section_flags") & SectionFlag.USAGE) == kept


@pytest.mark.parametrize(
    ("change", "found"),
    [("seed004-search-unchecked", {Law.READ_OUT_OF_BOUNDS}), ("seed004-memblock-discarded", set())],
)
def test_a_search_that_found_nothing_is_no_index(change: str, found: set[Law]) -> None:
    rules = CHANGES[change].rewrite(MAINLINE)
    kernel = boot(geometry="tiny_arm64", rules=rules)
    assert do(kernel, device(pages(16, 18)), MemunmapPages(0)) is None
    assert laws(kernel) == found


@pytest.mark.parametrize("passed", [True, False])
def test_a_failed_add_must_remove_its_pages_with_their_altmap(passed: bool) -> None:
    kernel = boot("memmap-on-memory", rules=replace(MAINLINE, rollback_passes_altmap=passed))
    kernel.faults.arm("memory_block")
    assert do(kernel, AddMemory(0, C, MHP_MEMMAP_ON_MEMORY)) == errno.ENOMEM
    assert (Law.FREED_TO_A_STRANGER in laws(kernel)) != passed


# Invariants on good and on bad states


def test_an_altmap_that_counts_too_much_or_too_little_is_wrong() -> None:
    for wrong in (3, 5):
        kernel = machine("tiny", device(C, altmap=(0, 4)))
        assert holds(kernel, "altmaps_account_for_what_they_gave")
        altmap_of(kernel).alloc = wrong
        assert not holds(kernel, "altmaps_account_for_what_they_gave")


def test_the_altmap_of_a_block_is_asked_too() -> None:
    kernel = machine("tiny", add(C, mhp_flags=MHP_MEMMAP_ON_MEMORY), of="memmap-on-memory")
    altmap = kernel.blocks[2].altmap
    assert altmap is not None
    altmap.alloc = 0
    assert not holds(kernel, "altmaps_account_for_what_they_gave")


def test_memory_that_is_freed_but_mapped_is_as_wrong_as_the_reverse() -> None:
    kernel = machine("tiny", add(C))
    kernel.ledger.freed(BUDDY, 1)
    assert not holds(kernel, "allocated_vmemmap_is_mapped")


def test_a_page_of_ptes_that_maps_nothing_is_unused() -> None:
    kernel = machine("tiny")
    kernel.vmemmap.write(kernel.geometry.memmap_of(D), page_table=1)
    assert not holds(kernel, "unused_vmemmap_is_freed")


def test_a_huge_page_is_used_if_one_of_its_sections_is() -> None:
    assert holds(machine("tiny_56", add(FOURTH)), "unused_vmemmap_is_freed")


def test_a_marker_beside_a_page_in_use_claims_nothing() -> None:
    kernel = machine("tiny_56", add(FOURTH), of="stale")
    assert holds(kernel, "markers_claim_no_page_in_use")


def test_a_section_of_which_all_is_marked_is_claimed_though_its_neighbour_is_used() -> None:
    kernel = machine("tiny_56", add(THIRD), add(FOURTH), of="stale")
    huge = kernel.geometry.huge_regions(kernel.geometry.memmap_of(FOURTH))[0]
    shared = kernel.geometry.described_by(huge)
    assert shared.overlaps(THIRD)
    assert holds(kernel, "markers_claim_no_page_in_use")
    kernel.pfns.write(shared.intersection(FOURTH), content=PageContent.UNUSED)
    assert not holds(kernel, "markers_claim_no_page_in_use")


@pytest.mark.parametrize(("marks", "left"), [("always", 0), ("misplaced", 32), ("never", 64)])
def test_what_is_in_front_must_be_marked_for_the_huge_page_to_go(marks: str, left: int) -> None:
    kernel = machine("tiny_56", add(FOURTH), remove(FOURTH), vmemmap_marks_unpopulated=marks)
    assert taken(kernel).get(BUDDY, 0) == left
    assert holds(kernel, "unused_vmemmap_is_freed") == (left == 0)


@pytest.mark.parametrize("of", ["collision", "memmap-on-memory"])
def test_a_memmap_in_its_own_block_is_never_given_away(of: str) -> None:
    kernel = machine("tiny", add(C, mhp_flags=MHP_MEMMAP_ON_MEMORY), online(2), of=of)
    assert holds(kernel, "self_hosted_memmap_is_nobodys_memory")


def test_nobody_looks_at_what_is_neither_populated_nor_early() -> None:
    kernel = machine("tiny", device(pages(18, 20)))
    assert described_and_valid(kernel, pages(8, 9)) is None
    assert described_and_valid(kernel, pages(8, 10)) == pages(18, 20)


# The books


def test_the_same_breach_is_written_down_once() -> None:
    kernel = boot()
    for operation in ("first", "second"):
        kernel.ledger.operation = operation
        kernel.ledger.breach(Law.FREED_TWICE, C)
    assert [entry.operation for entry in kernel.ledger.breaches] == ["first"]


def test_a_copy_of_the_books_is_independent() -> None:
    kernel = boot()
    old = kernel.ledger.numbers()
    twin = kernel.ledger.copy()
    twin.allocated(BUDDY, 1)
    twin.breach(Law.FREED_TWICE, C)
    assert kernel.ledger.numbers() == old != twin.numbers()


def test_every_law_is_somebodys_invariant() -> None:
    for law in Law:
        kernel = boot()
        kernel.ledger.breach(law, C)
        found = [i.name for i in INVARIANTS if i.law is not None and i.law(kernel.extents())]
        assert len(found) == 1, law
