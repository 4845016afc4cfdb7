"""Known defects of mainline: the shortest way to each, and what each does not excuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from hotplug_model.boot import BootLayout
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import QUIESCENT, Checker, Outcome
from hotplug_model.defects import DEFECTS
from hotplug_model.flags import BlockState, MemmapOrigin, SectionFlag, ZoneType
from hotplug_model.invariants import INVARIANTS
from hotplug_model.kernel import Kernel
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.ops import Op
from hotplug_model.ops.hv_balloon import HotAddReq
from hotplug_model.ops.interleave import Interleave
from hotplug_model.ops.memory_block import VetoMemoryNotifier
from hotplug_model.ops.memory_failure import HardOfflinePage
from hotplug_model.ops.memory_hotplug import OfflineAndRemoveMemory, RemoveMemory
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.ops.pages import PinPages
from hotplug_model.ops.user_pages import PinUserPages, UnpinUserPages
from hotplug_model.ops.virtio_mem import VirtioMemProbe, VirtioMemRequest
from hotplug_model.ops.walk import Walk
from hotplug_model.ops.xen_balloon import DecreaseReservation, IncreaseReservation
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import KernelRules
from stateful_tests.kernels import HOLE, B, C, D, add, boot, device, layout, offline, online, pages

every_defect = pytest.mark.parametrize("name", DEFECTS.names())

STARVED = device(pages(16, 32), altmap=(0, 4))
"""The altmap has room for the memmap of the first section, not for the second's."""
INSIDE = (device(pages(18, 20)), device(C, pgmap_id=1))
"""The second lies around the first."""
HALF_A_PAGEBLOCK = (
    add(pages(73728, 81920)),
    device(pages(69632, 69664)),
    online(9, "online"),
)
"""With 64K pages a section is one pageblock; the zone has to span all of it."""
TWO_ONLINE = (
    add(pages(16, 32)),
    online(2),
    online(3),
    PinPages(pages(24, 25)),
    VetoMemoryNotifier(online=True, offline=False),
    OfflineAndRemoveMemory(pages(16, 32), unmovable=False),
)
"""The second block has a page that cannot move, and the first must not come back."""
PINNED = PinUserPages("vfio", pages(16, 17))
UNPINNED = UnpinUserPages("vfio", pages(16, 17))
LOST = (add(C), online(2), offline(2))
"""NORMAL grows over C and shrinks back to one pfn short of its old end."""


@dataclass(frozen=True)
class Shown:
    """The shortest sequence of operations that shows a defect."""

    ops: tuple[Op, ...]
    at: str
    """The milestone of the last operation at which it is seen first."""
    invariants: set[str]
    of: BootLayout
    geometry: str = "tiny"
    along: str = ""
    """A defect that cannot but show as well."""


def at_once(first: Op, second: Op, nr_milestones: int) -> Op:
    """The first is left after so many milestones, until the second has returned."""
    return Interleave((first, second), ((0, nr_milestones),))


STRAY = "an-add-that-failed-stays-mapped"
LEFT_MAPPED = {"the_linear_map_ends_with_its_memory"}
"""What the last operation violates besides if it fails on x86."""
SHOWN: dict[str, Shown] = {
    "dying-map-is-no-map": Shown(
        (device(HOLE), MemunmapPages(0)),
        "percpu_ref_kill",
        {"walkers_take_no_zone_device_page", "walkers_read_no_poisoned_page"},
        layout(),
    ),
    "taint-comes-after-the-bit": Shown(
        (device(HOLE),), "page_init_poison", {"walkers_read_no_poisoned_page"}, layout()
    ),
    "valid-before-it-is-mapped": Shown(
        (device(pages(16, 18)), device(pages(18, 20), pgmap_id=1)),
        "fill_subsection_map",
        {"valid_pfns_have_a_struct_page"},
        layout(),
    ),
    "add-pages-does-not-unwind": Shown(
        (STARVED,),
        "percpu_ref_exit",
        {"refusals_leave_the_machine_alone", "altmaps_account_for_what_they_gave"},
        layout(),
        along=STRAY,
    ),
    "private-memory-forgets-its-altmap": Shown(
        (device(C, kind="private", altmap=(0, 4)), MemunmapPages(0)),
        "depopulate_section_memmap",
        {"memmap_goes_back_to_its_owner", "altmaps_account_for_what_they_gave"},
        layout(),
    ),
    "high-memory-goes-online-below-its-zone": Shown(
        (add(C), online(2)), "online_mem_sections", {"kernel_zones_are_in_the_linear_map"},
        layout("collision", "tiny_x86_32"), "tiny_x86_32",
    ),
    "ia64-keeps-the-memmap": Shown(
        (add(C), RemoveMemory(C)), QUIESCENT, {"unused_vmemmap_is_freed"},
        layout("collision", "tiny_ia64"), "tiny_ia64",
    ),
    "shared-page-goes-to-the-last-altmap": Shown(
        (
            device(pages(0x80, 0xC0), altmap=(0, 32)),
            device(pages(0xC0, 0x100), pgmap_id=1),
        ),
        QUIESCENT,
        {"altmaps_back_their_own_device"},
        layout("collision", "tiny_56"),
        "tiny_56",
    ),
    "a-memmap-that-failed-is-freed": Shown(
        (replace(add(C), fail_at="vmemmap_page"),),
        "depopulate_section_memmap",
        {"memmap_goes_back_to_its_owner"},
        layout("classic-sparse"),
        along=STRAY,
    ),
    "base-pages-below-a-huge-page": Shown(
        (add(pages(0x80, 0xC0)), device(pages(0xC0, 0xD0))),
        "populate_section_memmap",
        {"struct_pages_are_no_page_table"},
        layout("collision", "tiny_56"),
        "tiny_56",
    ),
    "subsections-share-a-base-page": Shown(
        (device(pages(16, 18)), device(pages(18, 20), pgmap_id=1), MemunmapPages(0)),
        "depopulate_section_memmap",
        {"valid_pfns_have_a_struct_page", "vmemmap_outlives_its_pfns"},
        layout("collision", "tiny_arm64_64k"),
        "tiny_arm64_64k",
    ),
    "conflict-check-looks-at-the-ends": Shown(
        INSIDE,
        QUIESCENT,
        {
            "refusals_leave_the_machine_alone",
            "pgmap_array_holds_the_maps",
            "populated_device_pages_have_a_map",
        },
        layout(),
        along=STRAY,
    ),
    STRAY: Shown((device(pages(17, 19)),), QUIESCENT, LEFT_MAPPED, layout()),
    "unwinding-unmaps-the-neighbour": Shown(
        (device(pages(18, 20)), add(C)),
        QUIESCENT,
        {"addressable_memory_is_mapped", "memory_is_read_through_the_linear_map"},
        layout("collision", "tiny_arm64"),
        "tiny_arm64",
    ),
    "an-add-maps-private-memory-meanwhile": Shown(
        (device(pages(18, 20), kind="private"), add(C)),
        "arch_create_linear_mapping",
        {"unaddressable_memory_is_not_mapped"},
        layout("collision", "tiny_arm64"),
        "tiny_arm64",
    ),
    "shrinking-samples-one-pfn-a-subsection": Shown(
        LOST, "shrink_zone_span", {"zone_spans_cover_their_pages"},
        layout("holes-in-zone"),
    ),
    "a-rollback-may-be-vetoed": Shown(
        TWO_ONLINE, QUIESCENT, {"refusals_leave_the_machine_alone"}, layout()
    ),
    "device-dax-keeps-its-pins": Shown(
        (device(C), PINNED, UNPINNED), QUIESCENT, {"pages_count_the_references_on_them"},
        layout(),
    ),
    "a-pfn-becomes-a-page": Shown(
        (replace(PINNED, pfnmap=True), add(C), online(2), UNPINNED),
        QUIESCENT, {"pages_count_the_references_on_them"}, layout(),
    ),
    "a-page-is-freed-under-kvm": Shown(
        (
            DecreaseReservation(pages(8, 9)), PinUserPages("kvm", pages(8, 9), pfnmap=True),
            IncreaseReservation(pages(8, 9)),
        ),
        QUIESCENT, {"pages_count_the_references_on_them"}, layout(),
    ),
    "what-is-backed-meanwhile-stays-offline": Shown(
        (HotAddReq(pages(16, 20)), at_once(online(2), HotAddReq(pages(20, 24)), 4)),
        QUIESCENT, {"backed_memory_is_used"}, layout("hyper-v"),
    ),
    "a-broken-page-is-subtracted-twice": Shown(
        (
            VirtioMemProbe(pages(16, 24), 0, 2, False), VirtioMemRequest(4), online(2),
            HardOfflinePage(23), offline(2),
        ),
        QUIESCENT, {"managed_pages_add_up"}, layout(),
    ),
    "a-page-is-freed-under-a-walker": Shown(
        (
            DecreaseReservation(pages(8, 9)),
            at_once(Walk("split_huge_pages_all", 8), IncreaseReservation(pages(8, 9)), 4),
        ),
        QUIESCENT, {"pages_count_the_references_on_them"}, layout(),
    ),
    "walkers-race-with-offlining": Shown(
        (at_once(Walk("kpageflags_read", 8), offline(1), 3),), "A: returns",
        {"walkers_use_no_poisoned_page"}, layout("two-nodes"),
    ),
    "nothing-keeps-a-walker-s-memmap": Shown(
        (at_once(Walk("kpageflags_read", 8), OfflineAndRemoveMemory(B, False), 3),),
        "A: returns", {"walkers_use_mapped_pages"}, layout("two-nodes"),
    ),
    "offlining-skips-a-broken-page-that-is-held": Shown(
        (HardOfflinePage(8), at_once(Walk("split_huge_pages_all", 8), offline(1), 4)),
        "A: returns", {"walkers_use_no_poisoned_page"}, layout("two-nodes"),
    ),
    "online-page-reads-usage-outside-rcu": Shown(
        (
            add(C),
            online(2),
            at_once(Walk("kpageflags_read", 16), OfflineAndRemoveMemory(C, False), 2),
        ),
        "A: returns", {"nobody_reads_what_was_freed"}, layout(),
    ),
    "a-device-goes-while-its-pages-are-held": Shown(
        (device(C), at_once(Walk("pin_user_pages_fast", 16), MemunmapPages(0), 1)),
        "A: returns", {"walkers_use_mapped_pages"}, layout(),
    ),
    "contiguous-outlasts-the-memmap": Shown(
        (offline(1),), "remove_pfn_range_from_zone", {"walkers_read_no_poisoned_page"},
        layout("classic-sparse"),
    ),
    "first-pfn-decides-for-a-pageblock": Shown(
        HALF_A_PAGEBLOCK, "resize_zone_range", {"walkers_take_no_zone_device_page"},
        layout("stale", "arm64_64k"), "arm64_64k",
    ),
}  # fmt: skip


def outcome(
    ops: tuple[Op, ...], of: BootLayout, geometry: str = "tiny", *,
    strict: bool = False, rules: KernelRules = MAINLINE,
) -> Outcome:  # fmt: skip
    """What the last operation did."""
    checker = Checker(boot(of, geometry, rules), strict)
    outcomes = [checker.apply(op) for op in ops]
    return outcomes[-1]


def rules_of(name: str) -> KernelRules:
    """Those of mainline, or of the kernel that had the defect."""
    return KernelVariant.named(None, DEFECTS[name].undone).rules()


def known_names(found: Outcome) -> set[str | None]:
    return {violation.defect for violation in found.known}


@every_defect
def test_a_known_defect_is_reported_apart(name: str) -> None:
    shown = SHOWN[name]
    found = outcome(shown.ops, shown.of, shown.geometry, rules=rules_of(name))
    assert found.violations == []
    assert known_names(found) == {name, shown.along} - {""}
    assert {v.invariant for v in found.known if v.defect == name} == shown.invariants


@every_defect
def test_a_known_defect_counts_when_strict(name: str) -> None:
    shown = SHOWN[name]
    found = outcome(shown.ops, shown.of, shown.geometry, strict=True, rules=rules_of(name))
    assert found.known == []
    along = LEFT_MAPPED if shown.along else set()
    assert {v.invariant for v in found.violations} == shown.invariants | along


@every_defect
def test_a_known_defect_begins_where_the_kernel_makes_it(name: str) -> None:
    shown = SHOWN[name]
    found = outcome(shown.ops, shown.of, shown.geometry, rules=rules_of(name))
    assert [v.milestone for v in found.known if v.defect == name][-1] == shown.at


@every_defect
def test_a_known_defect_is_over_with_the_operation_unless_it_says_otherwise(name: str) -> None:
    shown = SHOWN[name]
    checker = Checker(boot(shown.of, shown.geometry, rules_of(name)))
    for op in shown.ops:
        checker.apply(op)
    lasting = {violation.defect for violation in checker.look(QUIESCENT)}
    assert lasting <= {name, shown.along}
    assert name not in lasting or DEFECTS[name].quiescent


@every_defect
def test_each_operation_on_the_way_to_a_known_defect_is_needed(name: str) -> None:
    shown = SHOWN[name]
    for index in range(len(shown.ops)):
        fewer = shown.ops[:index] + shown.ops[index + 1 :]
        found = outcome(fewer, shown.of, shown.geometry, rules=rules_of(name)) if fewer else None
        assert found is None or name not in known_names(found)


@every_defect
def test_a_known_defect_names_invariants_that_exist_and_its_source(name: str) -> None:
    defect = DEFECTS[name]
    assert all(invariant in INVARIANTS for invariant in defect.invariants)
    assert "Source:" in defect.doc


@every_defect
def test_a_known_defect_explains_no_online_ram_of_a_fresh_machine(name: str) -> None:
    shown = SHOWN[name]
    x = boot(shown.of, shown.geometry, rules_of(name)).extents()
    assert not (DEFECTS[name].rows(x) & x.is_online_ram).any()


# What they do not excuse


def look(kernel: Kernel, milestone: str = QUIESCENT) -> set[str]:
    """Violations that no known defect explains."""
    kernel.pfns.merge()
    return {v.invariant for v in Checker(kernel).look(milestone) if v.defect is None}


UNTAINTED = replace(MAINLINE, section_taint_zone_device=False)
NO_SUBSECTION = replace(MAINLINE, online_checks_subsection="never")


def broken_too(change: Callable[[Kernel], None], ops: tuple[Op, ...], of: BootLayout) -> set[str]:
    """What is broken in the state of the defect once another store goes wrong."""
    checker = Checker(boot(of))
    for op in ops:
        checker.apply(op)
    change(checker.kernel)
    return look(checker.kernel)


def test_without_the_taint_a_mapped_device_is_no_known_defect() -> None:
    found = outcome((device(HOLE),), layout(), rules=UNTAINTED)
    assert "walkers_take_no_zone_device_page" in {v.invariant for v in found.violations}


def test_without_the_taint_a_dying_map_is_no_known_defect() -> None:
    found = outcome((device(HOLE), MemunmapPages(0)), layout(), rules=UNTAINTED)
    assert {v.invariant for v in found.violations} >= {"walkers_take_no_zone_device_page"}


def test_a_map_that_is_gone_excuses_nothing() -> None:
    found = outcome((device(HOLE), MemunmapPages(0)), layout(), rules=NO_SUBSECTION)
    assert {v.invariant for v in found.violations} == {"walkers_read_no_poisoned_page"}


def test_a_pfn_that_is_valid_but_unmapped_without_an_operation_in_flight_is_broken() -> None:
    def unmap(kernel: Kernel) -> None:
        kernel.pfns.write(C, memmap=MemmapOrigin.NONE)

    assert broken_too(unmap, (device(C),), layout()) == {"valid_pfns_have_a_struct_page"}


def test_sections_left_behind_excuse_no_other_section() -> None:
    def untaint(kernel: Kernel) -> None:
        kernel.pfns.clear_bits(B, "section_flags", SectionFlag.TAINT_ZONE_DEVICE)

    assert broken_too(untaint, (STARVED,), layout()) == set()
    ops = (device(HOLE, pgmap_id=1), STARVED)
    assert broken_too(untaint, ops, layout()) == {"walkers_take_no_zone_device_page"}


def test_a_lost_map_excuses_no_other_map() -> None:
    def lose(pfns: PfnRange) -> Callable[[Kernel], None]:
        return lambda kernel: kernel.pfns.write(pfns, pgmap_array=7)

    ops = (*INSIDE, device(D, pgmap_id=2))
    assert broken_too(lose(pages(20, 22)), ops, layout()) == {"pgmap_array_holds_the_maps"}


def test_a_span_that_loses_whole_subsections_is_broken() -> None:
    def lose(kernel: Kernel) -> None:
        kernel.zone(0, ZoneType.ZONE_NORMAL).spanned_pages -= 4

    assert "zone_spans_cover_their_pages" in broken_too(lose, (add(C),), layout())


def test_a_rollback_that_nobody_vetoes_leaves_no_block_offline() -> None:
    without_veto = TWO_ONLINE[:4] + TWO_ONLINE[5:]
    checker = Checker(boot())
    found = [checker.apply(op) for op in without_veto][-1]
    assert (str(found.refusal), found.violations, found.known) == ("-EBUSY", [], [])
    assert checker.kernel.blocks[2].state == BlockState.MEM_ONLINE


def test_a_refused_add_may_map_again_what_was_lost_below_a_huge_page() -> None:
    ops = (
        add(pages(0x80, 0xC0)),
        device(pages(0xD0, 0xE0)),
        RemoveMemory(pages(0x80, 0xC0)),
        add(pages(0x80, 0x100)),
    )
    found = outcome(ops, layout("leading-hole", "tiny_56"), "tiny_56")
    assert (str(found.refusal), found.violations) == ("-EEXIST", [])
    known = {v.defect for v in found.known if v.invariant == "refusals_leave_the_machine_alone"}
    assert known == {"add-pages-does-not-unwind", "base-pages-below-a-huge-page"}


def test_a_zone_that_grew_may_shrink_to_a_section_that_a_failed_add_left() -> None:
    events = (
        add(D),
        offline(3),
        device(pages(14, 24), altmap=(1, 4)),
        device(pages(12, 14), kind="private"),
        replace(online(3, "online_kernel"), fail_at="notifier"),
    )
    found = outcome(events, layout("auto-online"))
    assert (str(found.refusal), found.violations) == ("-ENOMEM", [])
    known = {v.defect: v.pfns for v in found.known}
    assert known["add-pages-does-not-unwind"] == (pages(14, 16),)


def test_a_vetoed_online_excuses_no_change_of_its_block() -> None:
    checker = Checker(boot())
    for op in (add(C), VetoMemoryNotifier(online=True, offline=False)):
        checker.apply(op)
    assert not DEFECTS["a-rollback-may-be-vetoed"].rows(checker.kernel.extents()).any()


def test_a_shared_base_page_is_known_if_the_add_that_frees_it_again_had_failed_midway() -> None:
    ops = (
        device(pages(16, 26)),
        device(pages(26, 32), pages(30, 32), pgmap_id=1),
        device(pages(26, 32), pgmap_id=1, altmap=(0, 1)),
    )
    found = outcome(ops, layout("stale", "tiny_arm64_64k"), "tiny_arm64_64k")
    assert (str(found.refusal), found.violations) == ("-ENOMEM", [])
    assert "vmemmap_outlives_its_pfns" in {v.invariant for v in found.known}


def test_a_block_that_comes_online_after_all_was_not_left_offline() -> None:
    checker = Checker(boot())
    for op in (*TWO_ONLINE, VetoMemoryNotifier(online=False, offline=False), online(2)):
        before = checker.kernel.blocks[2].left_offline if 2 in checker.kernel.blocks else False
        checker.apply(op)
    assert (before, checker.kernel.blocks[2].left_offline) == (True, False)


def test_memmap_that_a_failed_add_left_in_an_altmap_may_become_system_ram() -> None:
    ops = (
        device(pages(22, 32), altmap=(2, 4)),
        add(pages(24, 32)),
        online(3),
    )
    found = outcome(ops, layout("holes-in-zone", "tiny_arm64"), "tiny_arm64")
    assert (found.refusal, found.violations) == (None, [])
    known = {(v.invariant, v.defect) for v in found.known}
    assert ("self_hosted_memmap_is_nobodys_memory", "add-pages-does-not-unwind") in known


def test_memmap_of_a_device_that_lives_excuses_nothing() -> None:
    checker = Checker(boot("holes-in-zone", "tiny_arm64"))
    checker.apply(device(pages(22, 24), altmap=(1, 1)))
    assert not DEFECTS["add-pages-does-not-unwind"].rows(checker.kernel.extents()).any()


def test_two_defects_on_neighbouring_pages_are_told_apart() -> None:
    checker = Checker(boot("collision"))
    for op in (
        device(pages(14, 16)),
        add(C),
        PinUserPages("vfio", pages(16, 17), pfnmap=True),
        online(2),
        PinUserPages("vfio", pages(15, 16)),
    ):
        assert checker.apply(op).violations == []
    outcome = checker.apply(UnpinUserPages("vfio", pages(15, 17)))
    assert outcome.violations == []
    assert {(each.defect, each.pfns) for each in outcome.known} == {
        ("device-dax-keeps-its-pins", (pages(15, 16),)),
        ("a-pfn-becomes-a-page", (pages(16, 17),)),
    }
