"""Which zones have no hole: when that is found out, and who relies on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker, carry_out
from hotplug_model.contiguous import contiguous_zones, has_no_hole, in_contiguous_zone
from hotplug_model.defects import DEFECTS
from hotplug_model.flags import BlockState, PageContent, SectionFlag, ZoneType
from hotplug_model.geometry import GEOMETRIES, Geometry
from hotplug_model.kernel import Kernel
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.ops.memory_block import VetoMemoryNotifier
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import KernelRules
from hotplug_model.walkers import WALKERS
from stateful_tests.kernels import (
    HOLE,
    B,
    C,
    D,
    add,
    boot,
    device,
    do,
    hold,
    offline,
    online,
    pages,
    remove,
)
from stateful_tests.test_walkers import COARSE, Machine, scrambled

NORMAL, MOVABLE = ZoneType.ZONE_NORMAL, ZoneType.ZONE_MOVABLE
COUNTED = replace(MAINLINE, zone_contiguous="counted")
POPULATED = replace(MAINLINE, zone_contiguous="counted_populated")
ASKS_VALID = replace(MAINLINE, asks_pfn_valid=frozenset({"__pageblock_pfn_to_page"}))
"""Before v4.13."""
AT_REMOVAL = replace(MAINLINE, remove_pfn_range_from_zone_at_offline=False)
FIRST, LAST = online(2, "online_movable"), online(3, "online_movable")


def known(kernel: Kernel, zone_type: ZoneType = NORMAL, nid: int = 0) -> bool:
    """Whether a zone is known to have no hole."""
    return bool(contiguous_zones(kernel)[nid, zone_type])


def both_online(rules: KernelRules = MAINLINE) -> Kernel:
    """C and D are online in ZONE_MOVABLE, D since later."""
    kernel = boot(rules=rules)
    assert do(kernel, add(C), add(D), FIRST, LAST) is None
    return kernel


# What boot finds


@pytest.mark.parametrize(
    ("of", "contiguous"),
    [("collision", True), ("two-nodes", True), ("leading-hole", False)],
)
def test_a_subsection_without_ram_is_a_hole(of: str, contiguous: bool) -> None:
    assert known(boot(of)) is contiguous


def test_a_hole_in_a_populated_subsection_is_none() -> None:
    kernel = boot("leading-hole")
    assert kernel.zone(0, NORMAL).present_pages < kernel.zone(0, NORMAL).spanned_pages
    kernel.pfns.write(pages(8, 10), subsection=1)
    assert has_no_hole(kernel.extents(), 0, NORMAL)


def test_before_5_12_no_subsection_was_a_hole() -> None:
    """Source: commit 9f9b02e5b346 (in v5.12)."""
    assert known(boot("leading-hole", rules=KernelVariant.named("5.11", ()).rules()))
    assert not known(boot("leading-hole", rules=KernelVariant.named("5.12", ()).rules()))


def test_what_is_known_of_an_empty_zone_is_no_state() -> None:
    kernel = boot()
    assert not kernel.zone(0, MOVABLE).contiguous
    before = kernel.fingerprint()
    assert do(kernel, add(C), FIRST, offline(2), remove(C)) is None
    assert kernel.zone(0, MOVABLE).contiguous
    assert not known(kernel, MOVABLE)
    assert kernel.fingerprint() == before


# When it is found out


def test_what_goes_online_is_not_found_contiguous() -> None:
    kernel = both_online()
    assert has_no_hole(kernel.extents(), 0, MOVABLE)
    assert not known(kernel, MOVABLE)


def test_where_valid_pfns_will_do_it_is() -> None:
    assert known(both_online(ASKS_VALID), MOVABLE)


@pytest.mark.parametrize("block_id", [2, 3])
def test_a_zone_is_looked_through_when_it_shrinks(block_id: int) -> None:
    kernel = both_online()
    assert do(kernel, offline(block_id)) is None
    assert known(kernel, MOVABLE)


def test_a_zone_that_lost_its_middle_has_a_hole() -> None:
    kernel = boot()
    assert do(kernel, add(C), add(D), online(2), online(3), offline(2)) is None
    assert kernel.zone(0, NORMAL).span.contains(C)
    assert not known(kernel)


def test_a_zone_that_nobody_could_be_added_to_is_looked_through_again() -> None:
    kernel = boot()
    veto = VetoMemoryNotifier(online=True, offline=False)
    assert do(kernel, add(C), add(D), FIRST, veto) is None
    assert not known(kernel, MOVABLE)
    assert do(kernel, LAST) is not None
    assert known(kernel, MOVABLE)


def test_before_5_5_a_zone_was_looked_through_at_removal() -> None:
    """Source: __remove_pages(), mm/memory_hotplug.c (5.4)."""
    kernel = boot(rules=AT_REMOVAL)
    assert do(kernel, add(C), add(D), FIRST, LAST, offline(3)) is None
    assert not known(kernel, MOVABLE)
    assert do(kernel, remove(D)) is None
    assert known(kernel, MOVABLE)


def test_before_5_5_the_zone_was_that_of_the_block_that_was_removed() -> None:
    kernel = boot("two-nodes", rules=AT_REMOVAL)
    assert do(kernel, add(C, 1), add(D, 1), FIRST, LAST, offline(3), remove(D)) is None
    assert kernel.zone(1, MOVABLE).span == C
    assert known(kernel, MOVABLE, 1)


def test_before_5_5_the_hole_of_what_was_removed_was_seen() -> None:
    kernel = boot(rules=replace(AT_REMOVAL, asks_pfn_valid=ASKS_VALID.asks_pfn_valid))
    assert do(kernel, add(C), add(D), online(2), online(3), offline(2)) is None
    assert known(kernel)
    assert do(kernel, remove(C)) is None
    assert kernel.zone(0, NORMAL).span.contains(C)
    assert not known(kernel)


def test_a_device_clears_nothing_of_the_zone_around_it() -> None:
    kernel = boot("leading-hole", rules=KernelVariant.named("5.11", ()).rules())
    assert do(kernel, device(pages(8, 10))) is None
    assert known(kernel)
    assert not has_no_hole(kernel.extents(), 0, NORMAL)


# A page at a time


@pytest.mark.unmeasured
@pytest.mark.parametrize("sizes", [GEOMETRIES["tiny"], COARSE], ids=["tiny", "coarse"])
def test_holes_are_those_that_a_loop_over_pageblocks_finds(sizes: Geometry) -> None:
    found = []
    for seed in range(60):
        machine = Machine(scrambled(seed, sizes))
        for (nid, zone_type), span in machine.zones:
            zone = ZoneType(zone_type)
            whole = all(machine.is_whole(b, (nid, zone)) for b in machine.pageblocks(span))
            assert has_no_hole(machine.x, nid, zone) == whole, f"seed {seed}, {zone}"
            found.append(whole)
    assert {True, False} == set(found)


# Who relies on it


def taken(kernel: Kernel) -> bool:
    """Whether compaction looks for pages to move in [18, 20)."""
    x = kernel.extents()
    rows = WALKERS["isolate_migratepages_block"].reads(x)
    return bool((rows & x.touched([pages(18, 20)])).any())


def looked_at(kernel: Kernel) -> bool:
    """Whether that pageblock is looked at first."""
    x = kernel.extents()
    rows = WALKERS["__pageblock_pfn_to_page"].reads(x)
    return bool((rows & x.touched([pages(18, 20)])).any())


def test_pageblocks_of_a_contiguous_zone_are_taken_untested() -> None:
    kernel = both_online()
    kernel.pfns.write(pages(18, 20), zone=ZoneType.ZONE_DEVICE)
    assert (taken(kernel), looked_at(kernel)) == (False, True)
    kernel.zone(0, MOVABLE).contiguous = 1
    assert (taken(kernel), looked_at(kernel)) == (True, False)


def test_rows_of_a_contiguous_zone_are_those_that_it_spans() -> None:
    kernel = both_online()
    kernel.zone(0, MOVABLE).contiguous = 1
    kernel.zone(0, NORMAL).contiguous = 0
    x = kernel.extents()
    assert PfnRange(C.start_pfn, D.end_pfn) in x.where(in_contiguous_zone(x))
    assert not (in_contiguous_zone(x) & x.touched([B])).any()
    kernel.zone(0, MOVABLE).present_pages = 0
    x = kernel.extents()
    assert not (in_contiguous_zone(x) & x.touched([C, D])).any()


def test_the_checker_looks_again_when_only_that_has_changed() -> None:
    kernel = boot("leading-hole")
    checker = Checker(kernel)
    assert checker.apply(device(pages(8, 10))).violations == []
    kernel.zone(0, NORMAL).contiguous = 1
    assert {v.invariant for v in checker.look("quiescent")} == {"walkers_take_no_zone_device_page"}


# Counting


@pytest.mark.parametrize("rules", [COUNTED, POPULATED], ids=["counted", "populated"])
def test_a_count_knows_at_once_what_is_online(rules: KernelRules) -> None:
    kernel = both_online(rules)
    assert known(kernel, MOVABLE)
    assert do(kernel, offline(3)) is None
    assert known(kernel, MOVABLE)
    assert kernel.zone(0, MOVABLE).pages_with_online_memmap == C.nr_pages
    assert kernel.zone(0, MOVABLE).contiguous == 0


@pytest.mark.parametrize("rules", [COUNTED, POPULATED], ids=["counted", "populated"])
def test_a_count_knows_of_a_hole_in_the_middle(rules: KernelRules) -> None:
    kernel = boot("two-nodes", rules=rules)
    assert not known(kernel, MOVABLE)
    assert do(kernel, add(C, 1), add(D, 1), online(2), online(3)) is None
    assert known(kernel, NORMAL, 1)
    assert do(kernel, offline(2)) is None
    assert not known(kernel, NORMAL, 1)


def test_holes_with_a_memmap_count_or_those_of_populated_subsections_only() -> None:
    counted, populated = (boot("leading-hole", rules=rules) for rules in (COUNTED, POPULATED))
    assert known(counted)
    assert not known(populated)
    holes = counted.zone(0, NORMAL).spanned_pages - counted.zone(0, NORMAL).present_pages
    assert holes == 2
    assert populated.zone(0, NORMAL).pages_with_online_memmap == 0xE - holes


def test_a_hole_within_a_subsection_counts_for_both() -> None:
    of = boot("collision").layout
    of = replace(of, ram=((pages(0, 8), 0), (pages(9, 16), 0)))
    for rules in (COUNTED, POPULATED):
        kernel = Kernel.boot(GEOMETRIES["tiny"], rules, of)
        assert known(kernel)
        assert known(boot(of))


@pytest.mark.parametrize("rules", [COUNTED, POPULATED], ids=["counted", "populated"])
def test_a_count_falls_before_the_memmap_is_poisoned(rules: KernelRules) -> None:
    kernel = boot("classic-sparse", rules=rules)
    seen: list[bool] = []
    carry_out(kernel, offline(1), lambda _: seen.append(bool(poisoned_within(kernel))))
    assert known(kernel)
    assert seen
    assert not any(seen)


def poisoned_within(kernel: Kernel) -> tuple[PfnRange, ...]:
    """Poisoned struct pages in the span of a zone that counts as contiguous."""
    x = kernel.extents()
    return x.where(x.poisoned & in_contiguous_zone(x))


def test_the_flag_outlasts_the_memmap() -> None:
    kernel = boot("classic-sparse")
    seen: list[str] = []
    carry_out(kernel, offline(1), lambda at: seen.append(at) if poisoned_within(kernel) else None)
    assert seen == ["remove_pfn_range_from_zone"]


def test_a_device_moves_into_what_is_counted() -> None:
    for rules, broken in ((COUNTED, True), (POPULATED, False)):
        checker = Checker(boot("leading-hole", rules=rules))
        found = {v.invariant for v in checker.apply(device(pages(8, 10))).violations}
        assert ("walkers_take_no_zone_device_page" in found) is broken


def test_a_hole_behind_the_ram_is_outside_of_the_zone() -> None:
    kernel = boot(rules=COUNTED)
    assert known(kernel)
    assert kernel.zone(0, NORMAL).pages_with_online_memmap == 10
    assert Checker(kernel).apply(device(HOLE)).violations == []


def test_holes_count_for_the_zone_and_the_node_that_they_link_to() -> None:
    ram = ((pages(0, 1), 0), (pages(4, 10), 0), (pages(12, 16), 1), (pages(18, 24), 1))
    kernel = Kernel.boot(GEOMETRIES["tiny"], COUNTED, replace(boot("two-nodes").layout, ram=ram))
    counted = {
        (nid, zone): kernel.zone(nid, zone).pages_with_online_memmap
        for nid in (0, 1)
        for zone in (ZoneType.ZONE_DMA, NORMAL)
    }
    # The hole at [1, 4) links to the zone of the RAM behind it, which spans [2, 4) of it; that
    # at [10, 12) lies between the two nodes.
    assert counted == {
        (0, ZoneType.ZONE_DMA): 1, (0, NORMAL): 8, (1, ZoneType.ZONE_DMA): 0, (1, NORMAL): 12,
    }  # fmt: skip
    other = ((pages(2, 6), 0), (pages(8, 12), 1), (pages(16, 24), 0))
    kernel = Kernel.boot(GEOMETRIES["tiny"], COUNTED, replace(boot("two-nodes").layout, ram=other))
    # Of what node 0 spans the hole at [6, 8) is the other node's.
    assert kernel.zone(0, NORMAL).spanned_pages == 22
    assert kernel.zone(0, NORMAL).pages_with_online_memmap == 12 + 4


def test_a_zone_that_grew_over_a_hole_in_vain_counts_too_little() -> None:
    """Which harms nobody: nothing but compaction's test is not skipped any more."""
    checker = Checker(boot(rules=COUNTED))
    for op in (add(C), VetoMemoryNotifier(online=True, offline=False)):
        assert checker.apply(op).violations == []
    outcome = checker.apply(online(2))
    assert outcome.refusal is not None
    assert outcome.violations == []
    assert checker.kernel.zone(0, NORMAL).pages_with_online_memmap == 10 - HOLE.nr_pages
    assert not known(checker.kernel)


def test_holes_that_a_zone_leaves_behind_count_no_more() -> None:
    """Else what they count would make up for a block that leaves the middle."""
    ram = tuple((part, 0) for part in (pages(8, 16), pages(20, 32), pages(32, 36), pages(40, 48)))
    sizes = replace(GEOMETRIES["tiny"], max_physmem_bits=13)
    of = replace(boot("classic-sparse").layout, ram=ram, window=(pages(0, 64),))
    kernel = Kernel.boot(sizes, COUNTED, of)
    assert known(kernel)
    assert do(kernel, offline(1), offline(5)) is None
    assert kernel.zone(0, NORMAL).span == pages(20, 36)
    assert known(kernel)
    assert do(kernel, offline(3)) is None
    assert not known(kernel)


# Before the memmap was poisoned


@pytest.mark.parametrize("release", ["5.4", "5.5"])
def test_before_5_6_the_flag_was_cleared_first(release: str) -> None:
    kernel = boot("classic-sparse", rules=KernelVariant.named(release, ()).rules())
    checker = Checker(kernel, strict=True)
    assert known(kernel)
    found = [*checker.apply(offline(1)).violations, *checker.apply(remove(B)).violations]
    assert not any(v.invariant.startswith("walkers") for v in found)


# What the known defect does not excuse


def outlasts(kernel: Kernel) -> bool:
    """Whether the defect explains anything of C."""
    x = kernel.extents()
    return bool((DEFECTS["contiguous-outlasts-the-memmap"].rows(x) & x.touched([C])).any())


def leaving() -> Kernel:
    """C on its way out of ZONE_MOVABLE, which D is in as well, poisoned."""
    kernel = both_online()
    kernel.zone(0, MOVABLE).contiguous = 1
    kernel.pfns.write(C, content=PageContent.POISONED, block=BlockState.MEM_GOING_OFFLINE)
    kernel.pfns.clear_bits(C, "section_flags", SectionFlag.IS_ONLINE)
    hold(kernel, "mem_hotplug_lock")
    return kernel


READ_ANYWAY = replace(MAINLINE, asks_pfn_valid=frozenset({"kpageflags_read"}))
EXCUSES: dict[str, Callable[[Kernel], object]] = {
    "it is online": lambda k: k.pfns.set_bits(C, "section_flags", SectionFlag.IS_ONLINE),
    "it is initialised": lambda k: k.pfns.write(C, content=PageContent.INITIALISED),
    "its block is online": lambda k: k.pfns.write(C, block=BlockState.MEM_ONLINE),
    "nobody holds the lock": lambda k: k.locks.drop("mem_hotplug_lock"),
    "the zone is not contiguous": lambda k: setattr(k.zone(0, MOVABLE), "contiguous", 0),
    "the zone has no memory": lambda k: setattr(k.zone(0, MOVABLE), "present_pages", 0),
    "somebody else reads it": lambda k: setattr(k, "rules", READ_ANYWAY),
    "the kernel counts": lambda k: setattr(k, "rules", COUNTED),
}


@pytest.mark.parametrize("what", EXCUSES)
def test_what_outlasts_the_memmap_is_a_flag_and_nothing_else(what: str) -> None:
    kernel = leaving()
    assert outlasts(kernel)
    EXCUSES[what](kernel)
    assert not outlasts(kernel)


def test_the_flag_is_gone_before_the_span_changes() -> None:
    kernel = boot("classic-sparse")
    assert do(kernel, add(C)) is None
    seen: dict[str, bool] = {}
    carry_out(kernel, online(2), lambda at: seen.update({at: known(kernel)}))
    assert "resize_zone_range" in seen
    assert not any(seen.values())
    kernel = both_online()
    kernel.zone(0, MOVABLE).contiguous = 1
    seen.clear()
    carry_out(kernel, offline(3), lambda at: seen.update({at: known(kernel, MOVABLE)}))
    names = list(seen)
    assert seen["remove_pfn_range_from_zone"]
    assert not seen["shrink_zone_span"]
    assert names.index("remove_pfn_range_from_zone") < names.index("shrink_zone_span")


def test_what_failed_to_be_added_leaves_no_flag_behind() -> None:
    """Before 4.13, where adding puts memory into a zone."""
    undone = ("f1dd2cd13c4b", "shrink-asks-online", "feee6b298916", "2d070eab2e82")
    kernel = boot("classic-sparse", rules=KernelVariant.named(None, undone).rules())
    before = kernel.zone(0, NORMAL).cells.copy()
    refusal, _ = carry_out(kernel, replace(add(C), fail_at="memory_block"))
    assert refusal is not None
    assert (kernel.zone(0, NORMAL).cells == before).all()
    assert known(kernel)
