"""The machine right after boot: what firmware says, and what the kernel makes of it."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest

from hotplug_model.boot import (
    LAYOUTS,
    MAX_WINDOW,
    every_layout,
    find_layout,
    search_sections,
)
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker
from hotplug_model.commands.search import layouts
from hotplug_model.errors import UserError
from hotplug_model.flags import (
    BOOT_SECTION,
    BlockState,
    MemmapOrigin,
    PageContent,
    PageFlag,
    ZoneType,
)
from hotplug_model.geometry import GEOMETRIES, TINY
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange
from stateful_tests.kernels import HOLE, A, B, C, D, boot, column, do, layout, offline, pages

DMA, DMA32, NORMAL = ZoneType.ZONE_DMA, ZoneType.ZONE_DMA32, ZoneType.ZONE_NORMAL
each_layout = pytest.mark.parametrize("name", [name for name, _ in every_layout()])
each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES.names())


INVALID: dict[str, dict[str, Any]] = {
    "an empty range": {"window": (A, pages(8, 8))},
    "a range beyond the end": {"window": (A, pages(32, 40))},
    "RAM beyond the end": {"ram": ((pages(24, 40), 0),)},
    "firmware beyond the end": {"firmware": (("pmem", pages(24, 40)),)},
    "RAM twice": {"ram": ((A, 0), (pages(4, 12), 0))},
    "firmware in RAM": {"firmware": (("pmem", pages(4, 8)),)},
    "reserved memory that is no RAM": {"reserved": (pages(10, 14),)},
    "no RAM": {"ram": ()},
    "no window": {"window": ()},
    "RAM out of order": {"ram": ((B, 0), (A, 0))},
    "half a section to search in": {"window": (pages(0, 4),)},
    "no node": {"nodes": 0},
    "nine nodes": {"nodes": 9},
    "RAM of a node that is not there": {"ram": ((A, 1),)},
    "RAM of a negative node": {"ram": ((A, -1),)},
    "a block of no section": {"sections_per_block": 0},
    "a block of 65 sections": {"sections_per_block": 65},
}


@pytest.mark.parametrize("what", INVALID)
def test_an_invalid_layout_is_refused_in_one_line(what: str) -> None:
    with pytest.raises(UserError, match=r"^boot: [^\n]+$"):
        replace(layout(), **INVALID[what]).validate(TINY)


@each_layout
@each_geometry
def test_every_layout_is_valid_on_every_geometry(name: str, geometry: str) -> None:
    sizes = GEOMETRIES[geometry]
    made = find_layout(name)(sizes)
    made.validate(sizes)
    assert Checker(boot(made, geometry)).boot() == []


@each_geometry
def test_a_search_has_section_0_and_at_most_so_many(geometry: str) -> None:
    sections = search_sections(GEOMETRIES[geometry])
    assert sections[0].start_pfn == 0
    assert 4 <= len(sections) <= MAX_WINDOW


def test_every_layout_is_documented() -> None:
    assert all(make.__doc__ for _, make in every_layout())


def test_a_layout_that_must_be_asked_for_is_booted_by_no_search_but_when_it_is_named() -> None:
    assert "shared-section" not in layouts(None, TINY)
    assert list(layouts("shared-section", TINY)) == ["shared-section"]
    assert LAYOUTS.names() == list(layouts(None, TINY))


@pytest.mark.parametrize(
    ("release", "owner"), [("4.19", 0), ("4.20", 1), ("5.0", 0), ("6.14", 0)]
)
def test_4_20_gave_the_rest_of_a_section_to_the_node_that_was_initialised_last(
    release: str, owner: int
) -> None:
    rules = KernelVariant.named(release, ()).rules()
    made = replace(find_layout("shared-section")(TINY), reserved=(pages(15, 16),))
    kernel = boot(made, rules=rules)
    assert column(kernel, "nid", pages(12, 16)) == {owner}
    managed = [node.zones[ZoneType.ZONE_NORMAL].managed_pages for _, node in kernel.nodes.items()]
    assert managed == ([0, 13] if owner else [3, 10])


# Sections


def test_a_section_that_ram_touches_is_present_and_online_as_a_whole() -> None:
    kernel = boot()
    assert column(kernel, "section_flags", pages(0, 16)) == {BOOT_SECTION}
    assert column(kernel, "memmap", pages(0, 16)) == {MemmapOrigin.BOOT}
    assert column(kernel, "section_flags", pages(16, 32)) == {0}


def test_the_subsection_map_has_bits_for_ram_only() -> None:
    x = boot().extents()
    assert x.where(x.subsection) == (pages(0, 12),)
    assert x.where(x.pfn_valid) == (pages(0, 16),)


def test_a_subsection_that_ram_touches_is_populated() -> None:
    kernel = boot("holes-in-zone")
    assert kernel.layout.ram[-1][0] == pages(8, 11)
    x = kernel.extents()
    assert x.where(x.subsection) == (pages(0, 12),)


# Memory that boot keeps


def test_ram_that_memblock_kept_is_reserved_and_present_but_not_managed() -> None:
    kernel = boot("boot-reserved")
    assert kernel.layout.reserved == (pages(12, 16),)
    assert column(kernel, "page_flags", pages(12, 16)) == {PageFlag.PG_reserved}
    assert column(kernel, "refcount", pages(12, 16)) == {1}
    zone = kernel.zone(0, NORMAL)
    assert (zone.present_pages, zone.managed_pages) == (14, 10)


def test_all_other_ram_is_managed() -> None:
    x = boot("boot-reserved").extents()
    assert x.where(x.is_managed) == (pages(0, 12),)


def test_memory_that_boot_keeps_cannot_go_offline() -> None:
    assert do(boot("boot-reserved"), offline(1)) == errno.EBUSY
    assert do(boot("two-nodes"), offline(1)) is None


# Holes


def test_a_hole_behind_the_last_ram_takes_its_zone_and_is_reserved() -> None:
    kernel = boot()
    assert column(kernel, "zone", HOLE) == {NORMAL}
    assert column(kernel, "page_flags", HOLE) == {PageFlag.PG_reserved | PageFlag.HOLE}
    assert column(kernel, "refcount", HOLE) == {1}
    x = kernel.extents()
    assert x.where(x.is_boot_hole) == (HOLE,)


def two_nodes(ram: tuple[tuple[PfnRange, int], ...]) -> Kernel:
    return boot(replace(layout(), ram=ram, nodes=2))


def test_a_hole_takes_the_node_of_the_ram_behind_it() -> None:
    kernel = two_nodes(((pages(0, 4), 0), (pages(12, 16), 1)))
    assert column(kernel, "nid", pages(4, 12)) == {1}
    assert column(kernel, "zone", pages(4, 12)) == {NORMAL}


def test_a_hole_before_the_first_ram_takes_its_zone() -> None:
    kernel = two_nodes(((pages(4, 8), 1),))
    assert column(kernel, "nid", pages(0, 4)) == {1}
    assert column(kernel, "page_flags", pages(0, 4)) == {PageFlag.PG_reserved | PageFlag.HOLE}


def test_the_tail_of_the_last_section_takes_the_node_of_the_ram_before_it() -> None:
    kernel = two_nodes(((A, 0), (pages(8, 12), 1)))
    assert column(kernel, "nid", HOLE) == {1}


def test_a_hole_without_struct_pages_is_zeroed_and_invalid() -> None:
    kernel = boot("holes-in-zone")
    assert column(kernel, "content", pages(11, 16)) == {PageContent.ZEROED}
    x = kernel.extents()
    assert x.where(x.pfn_valid) == (pages(0, 11),)


# Zones, nodes, blocks


def test_zones_are_cut_at_their_limits_and_count_ram_only() -> None:
    kernel = boot(replace(layout(), ram=((pages(0, 4), 0), (pages(8, 12), 0))))
    spans = {zone: kernel.zone(0, zone).span for zone in ZoneType}
    assert (spans[DMA], spans[NORMAL]) == (pages(0, 2), pages(2, 12))
    assert [kernel.zone(0, zone).present_pages for zone in (DMA, NORMAL)] == [2, 6]
    assert kernel.nodes[0].span == pages(0, 12)


def test_zones_of_x86_64_end_at_16_mib_and_4_gib() -> None:
    kernel = boot("collision", "x86_64")
    assert kernel.zone(0, DMA).span == PfnRange(0, 4096)
    assert kernel.zone(0, DMA32).span.start_pfn == 4096
    assert kernel.zone(0, NORMAL).span.start_pfn == 1 << 20


def test_a_node_without_ram_spans_nothing() -> None:
    kernel = boot(replace(layout(), nodes=2))
    assert kernel.nodes[1].span == pages(0, 0)


def test_a_block_has_the_only_zone_of_its_node_that_intersects_it() -> None:
    kernel = boot()
    assert [kernel.blocks[b].zone for b in (0, 1)] == [None, NORMAL]
    assert kernel.blocks[1].state == BlockState.MEM_ONLINE


def test_a_block_of_two_nodes_has_no_zone() -> None:
    kernel = two_nodes(((pages(8, 12), 0), (pages(12, 16), 1)))
    assert kernel.blocks[1].zone is None


def test_a_block_is_as_large_as_the_layout_says() -> None:
    kernel = boot("large-blocks")
    assert kernel.blocks.keys() == {0}
    assert kernel.block_pfns(0) == pages(0, 16)


def test_firmware_regions_are_not_busy() -> None:
    kernel = boot(replace(layout(), firmware=(("Persistent Memory", pages(16, 32)),)))
    (region,) = [each for each in kernel.iomem.children if each.name == "Persistent Memory"]
    assert not region.busy
    assert kernel.iomem.named("System RAM") == [A, pages(8, 12)]


def test_nothing_is_there_where_no_ram_is() -> None:
    kernel = boot()
    for pfns in (C, D):
        assert column(kernel, "memmap", pfns) == {MemmapOrigin.NONE}
        assert column(kernel, "content", pfns) == {PageContent.NONE}
        assert column(kernel, "block", pfns) == {BlockState.NONE}


def test_a_layout_that_there_is_not_is_told_from_all_that_there_are() -> None:
    with pytest.raises(UserError, match="unsafe-unplug"):
        find_layout("unsafe-unplugs")
