"""Walkers: right on mainline, wrong where the kernel is broken, equal to their scalar twins."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import TypeAlias

import numpy as np
import pytest

from hotplug_model.arrays import ExtentMask
from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import CHANGES
from hotplug_model.checker import Checker
from hotplug_model.extents import Extents
from hotplug_model.flags import BlockState, PageContent, PageFlag, ZoneType
from hotplug_model.geometry import GEOMETRIES, Geometry
from hotplug_model.invariants.walkers import walkers_now
from hotplug_model.kernel import Kernel
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import KernelRules
from hotplug_model.state.locks import DEVICE_HOTPLUG_LOCK, MEM_HOTPLUG_LOCK
from hotplug_model.walkers import WALKERS, Walker
from hotplug_model.walkers.compaction import resettable
from hotplug_model.walkers.page_alloc import pageblock_pfn_to_page, whole_pageblocks
from hotplug_model.walkers.walker import (
    every_nth_pfn,
    every_pfn,
    every_pfn_of_zones,
    first_pfn_decides,
    pages_of_zones,
    visits,
)
from stateful_tests.kernels import EVERY_FUNCTION, add, device, offline, online

UNOWNED = tuple(set(PageContent) - {PageContent.NONE, PageContent.INITIALISED})

ANY = "any"
"""A function that asks as mainline does."""
every_walker = pytest.mark.parametrize("walker", WALKERS, ids=lambda walker: walker.name)
complete_walker = pytest.mark.parametrize(
    "walker", [walker for walker in WALKERS if walker.complete], ids=lambda walker: walker.name
)
geometry = pytest.mark.parametrize("geometry", ["tiny", "x86_64"])


def shared_section(
    geometry_name: str, rules: KernelRules, mapped: bool, layout_name: str = "collision"
) -> Kernel:
    """*b* is half RAM, half device (gone again unless *mapped*); *c* went offline again.

    ```
    section    a          b            c         d
           [RAM RAM] [RAM device] [ offline ] [online]
    zone             |--------------------------------|
    ```
    """
    sizes = GEOMETRIES[geometry_name]
    layout = LAYOUTS[layout_name](sizes)
    kernel = Kernel.boot(sizes, rules, layout)
    _, b, c, d = layout.window[:4]
    ram_end = layout.ram[1][0].end_pfn
    c_id, d_id = (kernel.block_ids(pfns)[0] for pfns in (c, d))
    ops = [add(c), add(d), online(c_id), online(d_id), offline(c_id)]
    ops.append(device(PfnRange(ram_end, b.end_pfn)))
    if not mapped:
        ops.append(MemunmapPages(0))
    checker = Checker(kernel)
    for op in ops:
        assert checker.apply(op).refusal is None, op
    return kernel


@cache
def seen(
    geometry_name: str, rules: KernelRules, mapped: bool, layout_name: str = "collision"
) -> Extents:
    """What walkers see of the shared section."""
    return shared_section(geometry_name, rules, mapped, layout_name).extents()


def wrong(x: Extents, walker: Walker) -> ExtentMask:
    """Rows that the walker should not have read, or not have taken."""
    badly_read = walker.reads(x) & ((x.content == PageContent.POISONED) | ~x.mapped)
    badly_taken = walker.takes(x) & (x.is_zone_device | np.isin(x.content, UNOWNED))
    rows: ExtentMask = badly_read | badly_taken
    return rows


# On mainline


@geometry
@every_walker
@pytest.mark.parametrize("mapped", [True, False])
def test_on_mainline_no_walker_takes_or_reads_a_wrong_page(
    walker: Walker, geometry: str, mapped: bool
) -> None:
    x = seen(geometry, MAINLINE, mapped)
    assert x.is_zone_device.any() == mapped
    assert x.where(wrong(x, walker)) == ()


@geometry
@complete_walker
def test_on_mainline_a_complete_walker_takes_all_online_ram(
    walker: Walker, geometry: str
) -> None:
    x = seen(geometry, MAINLINE, mapped=True)
    assert x.where(x.is_online_ram & ~walker.takes(x)) == ()


@geometry
@every_walker
@pytest.mark.parametrize("layout", LAYOUTS.names())
def test_right_after_boot_no_walker_is_wrong(
    walker: Walker, geometry: str, layout: str
) -> None:
    sizes = GEOMETRIES[geometry]
    x = Kernel.boot(sizes, MAINLINE, LAYOUTS[layout](sizes)).extents()
    assert x.where(wrong(x, walker)) == ()
    if walker.complete:
        assert x.where(x.is_online_ram & ~walker.takes(x)) == ()


PAST = frozenset({"shrink_pgdat_span", "try_offline_node"})
"""Walkers that read no page any more."""


@pytest.mark.parametrize("name", sorted(PAST))
def test_a_walker_of_the_past_reads_nothing_on_mainline(name: str) -> None:
    assert not WALKERS[name].reads(shared_section("tiny", MAINLINE, mapped=True).extents()).any()


@pytest.mark.unmeasured
@every_walker
def test_every_walker_takes_some_online_ram(walker: Walker) -> None:
    kernel = shared_section("tiny", replace(MAINLINE, asks_pfn_valid=PAST), mapped=True)
    block_id = kernel.block_ids(kernel.layout.window[2])[0]
    assert Checker(kernel).apply(online(block_id)).refusal is None
    # In each section one page is held, the others are free.
    for section in kernel.layout.window:
        kernel.pfns.write(PfnRange(section.start_pfn, section.start_pfn + 1), refcount=1)
    x = kernel.extents()
    assert (walker.takes(x) & x.is_online_ram).any()


@every_walker
def test_every_walker_says_what_it_does_and_where_the_kernel_says_so(walker: Walker) -> None:
    assert "Source:" in (walker.reads.__doc__ or "")
    assert walker.doc.endswith((".", "?"))


@pytest.mark.parametrize("lock", [MEM_HOTPLUG_LOCK, DEVICE_HOTPLUG_LOCK])
def test_no_walker_looks_while_hotplug_has_the_lock_that_it_waits_for(lock: str) -> None:
    kernel = shared_section("tiny", MAINLINE, mapped=True)
    kernel.locks.holder[lock] = 0
    kept_away = set(WALKERS) - set(walkers_now(kernel.extents()))
    assert kept_away == {walker for walker in WALKERS if walker.waits_for == lock}
    assert any(walker.name == "saveable_page" for walker in kept_away) == (
        lock == DEVICE_HOTPLUG_LOCK
    )


# Where the kernel is broken

BROKEN: dict[str, KernelRules] = {
    "no taint": replace(MAINLINE, section_taint_zone_device=False),
    "no subsection": replace(MAINLINE, online_checks_subsection="never"),
    "pfn_valid": replace(MAINLINE, asks_pfn_valid=EVERY_FUNCTION),
    "pfn_valid when zones shrink": replace(MAINLINE, shrink_asks_online=False),
    "holes go offline": replace(
        MAINLINE, offline_rejects_holes=False, online_checks_subsection="never"
    ),
}


ONCE_WRONG = {
    name for change in CHANGES for name in change.rewrite(MAINLINE).asks_pfn_valid
} - {"kern_addr_valid", "read_page_owner"}
"""What asks kern_addr_valid() reads memory, no struct page; read_page_owner() goes wrong only
where a chunk is larger than a subsection."""
LIAR = replace(
    MAINLINE, pfn_to_online_page=lambda x: x.mapped, offline_rejects_holes=False
)


def shared_sections(rules: KernelRules) -> list[Extents]:
    """The shared section with the device and after it, with poisoning and without."""
    return [
        seen("tiny", rules, mapped, layout)
        for layout in ("collision", "stale")
        for mapped in (True, False)
    ]


def broken_for(walker: Walker) -> list[str]:
    """Variants under which the walker reads or takes a wrong page."""
    return [
        name
        for name, rules in BROKEN.items()
        if any(wrong(x, walker).any() for x in shared_sections(rules))
    ]


@pytest.mark.unmeasured
@every_walker
def test_every_walker_can_be_made_to_see_a_wrong_page(walker: Walker) -> None:
    assert broken_for(walker)


@pytest.mark.unmeasured
@pytest.mark.parametrize("function", sorted(ONCE_WRONG))
def test_each_function_that_was_fixed_is_wrong_alone(function: str) -> None:
    rules = replace(MAINLINE, asks_pfn_valid=frozenset({function}))
    views = shared_sections(rules)
    assert any(wrong(x, walker).any() for x in views for walker in WALKERS)


@pytest.mark.parametrize(
    "walker", [walker for walker in WALKERS if walker.name not in PAST], ids=lambda w: w.name
)
def test_a_walker_that_asks_online_can_be_lied_to(walker: Walker) -> None:
    assert any(wrong(x, walker).any() for x in shared_sections(LIAR))


@complete_walker
def test_a_complete_walker_misses_what_pfn_to_online_page_denies(walker: Walker) -> None:
    def denies_the_first_page(x: Extents) -> ExtentMask:
        granted: ExtentMask = MAINLINE.pfn_to_online_page(x) & (x.start_pfn > 0)
        return granted

    rules = replace(MAINLINE, pfn_to_online_page=denies_the_first_page)
    x = seen("tiny", rules, mapped=True)
    missed = x.where(x.is_online_ram & ~walker.takes(x))
    assert missed
    assert missed[0].start_pfn == 0


@pytest.mark.parametrize("name", ["pages_of_zones", "saveable_page", "kmemleak_scan"])
def test_the_zone_test_stops_walkers_at_device_pages(name: str) -> None:
    x = seen("tiny", BROKEN["no taint"], mapped=True)
    walker = WALKERS["saveable_page" if name == "pages_of_zones" else name]
    takes = pages_of_zones(x, ANY) if name == "pages_of_zones" else walker.takes(x)
    assert (walker.reads(x) & x.is_zone_device).any()
    assert not (takes & x.is_zone_device).any()


@pytest.mark.parametrize("name", ["kpageflags_read", "memory_failure", "damon_get_folio"])
def test_walkers_without_a_zone_test_take_device_pages(name: str) -> None:
    x = seen("tiny", BROKEN["no taint"], mapped=True)
    assert (WALKERS[name].takes(x) & x.is_zone_device).any()


# The scalar twins: pfn by pfn, as the kernel writes its loops

COARSE = Geometry(
    section_size_bits=16, subsection_shift=13, pageblock_order=2, max_order=3,
    max_physmem_bits=18, pmd_shift=12, max_dma_pfn=5,
)  # fmt: skip
"""4 sections of 16 pages; a pageblock holds two subsections, a zone begins inside one."""

Zone: TypeAlias = tuple[int, int]


class Machine:
    """Every predicate at one pfn, and the loops over pfns."""

    def __init__(self, kernel: Kernel) -> None:
        self.x = kernel.extents()
        self.kernel, self.sizes = kernel, kernel.geometry
        self.zones: list[tuple[Zone, range]] = [
            ((nid, zone_type), range(zone.span.start_pfn, zone.span.end_pfn))
            for nid, node in kernel.nodes.items()
            for zone_type, zone in zip(ZoneType, node.zones, strict=True)
            if zone.present_pages > 0
        ]

    def at(self, rows: ExtentMask, pfn: int) -> bool:
        return bool(rows[int(np.searchsorted(self.x.start_pfn, pfn, "right")) - 1])

    def online(self, pfn: int) -> bool:
        return self.at(self.x.online_page, pfn)

    def in_zone(self, pfn: int, zone: Zone) -> bool:
        content = self.kernel.pfns.at(pfn, "content")
        named = (self.kernel.pfns.at(pfn, "nid"), self.kernel.pfns.at(pfn, "zone"))
        if content == PageContent.POISONED:
            return False
        return content in (PageContent.GARBAGE, PageContent.UNUSED) or named == zone

    def tests(self, zone: Zone) -> bool:
        """Whether pageblocks of a zone are tested: it is not known to have no hole."""
        nid, zone_type = zone
        return not self.kernel.nodes[nid].zones[zone_type].contiguous

    def is_whole(self, block: range, zone: Zone) -> bool:
        """Whether a pageblock passes the test."""
        asked = self.online(block[0]) and self.at(self.x.pfn_valid, block[-1])
        return asked and self.in_zone(block[0], zone) and self.in_zone(block[-1], zone)

    def pageblocks(self, span: range) -> Iterator[range]:
        """The pageblocks of a span, cut at its ends."""
        size, pfn = self.sizes.pageblock_nr_pages, span.start
        while pfn < span.stop:
            behind = min((pfn // size + 1) * size, span.stop)
            yield range(pfn, behind)
            pfn = behind

    def rows(self, pfns: Iterable[int]) -> set[int]:
        """Rows that hold one of *pfns*."""
        found = np.searchsorted(self.x.start_pfn, list(set(pfns)), "right")
        return {int(row) - 1 for row in found}


Loop: TypeAlias = Callable[[Machine], Iterator[int]]


def twin_every_pfn(m: Machine) -> Iterator[int]:
    for pfn in range(m.sizes.all_pfns.end_pfn):
        if m.online(pfn):
            yield pfn


def twin_every_nth_pfn(m: Machine) -> Iterator[int]:
    for pfn in range(0, m.sizes.all_pfns.end_pfn, m.sizes.pages_per_section):
        if m.online(pfn):
            yield pfn


def twin_first_pfn_decides(m: Machine) -> Iterator[int]:
    for pfn in range(0, m.sizes.all_pfns.end_pfn, m.sizes.pages_per_section):
        if m.online(pfn):
            yield from range(pfn, pfn + m.sizes.pages_per_section)


def twin_every_pfn_of_zones(m: Machine) -> Iterator[int]:
    for _, span in m.zones:
        for pfn in span:
            if m.online(pfn):
                yield pfn


def twin_pages_of_zones(m: Machine) -> Iterator[int]:
    for zone, span in m.zones:
        for pfn in span:
            if m.online(pfn) and m.in_zone(pfn, zone):
                yield pfn


def twin_find_smallest(m: Machine) -> Iterator[int]:
    step = m.sizes.pages_per_subsection
    for _, span in m.zones:
        for pfn in range(-(-span.start // step) * step, span.stop, step):
            if m.online(pfn):
                yield pfn


def twin_find_biggest(m: Machine) -> Iterator[int]:
    step = m.sizes.pages_per_subsection
    for _, span in m.zones:
        for pfn in range(span.stop // step * step - 1, span.start - 1, -step):
            if m.online(pfn):
                yield pfn


def twin_showblockcount(m: Machine) -> Iterator[int]:
    for _, span in m.zones:
        for pfn in range(span.start, span.stop, m.sizes.pageblock_nr_pages):
            if m.online(pfn):
                yield pfn


def twin_shuffle(m: Machine) -> Iterator[int]:
    order_pages = m.sizes.max_order_nr_pages
    for _, span in m.zones:
        for pfn in span:
            if pfn % order_pages == 0 and m.online(pfn):
                yield pfn


def twin_test_of_pageblocks(m: Machine) -> Iterator[int]:
    for zone, span in m.zones:
        for block in m.pageblocks(span) if m.tests(zone) else ():
            first, last = block[0], block[-1]
            if not m.online(first):
                continue
            yield first
            if m.in_zone(first, zone) and m.at(m.x.pfn_valid, last):
                yield last


def twin_whole_pageblocks(m: Machine) -> Iterator[int]:
    for zone, span in m.zones:
        for block in m.pageblocks(span) if m.tests(zone) else ():
            if m.is_whole(block, zone):
                yield from block


def twin_pageblock_pfn_to_page(m: Machine) -> Iterator[int]:
    for zone, span in m.zones:
        for block in m.pageblocks(span):
            if not m.tests(zone) or m.is_whole(block, zone):
                yield from block


def twin_resettable(m: Machine) -> Iterator[int]:
    for zone, span in m.zones:
        for block in m.pageblocks(span):
            for pfn in (block[0], block[-1]):
                if m.online(pfn) and m.in_zone(pfn, zone) and m.online(block[-1]):
                    start = block[0] if m.online(block[0]) else pfn
                    yield from range(start, block.stop)


def twin_reset_isolation(m: Machine) -> Iterator[int]:
    for _, span in m.zones:
        for block in m.pageblocks(span):
            for pfn in (block[0], block[-1]):
                if m.online(pfn):
                    yield pfn
    yield from twin_resettable(m)


def twin_showmixedcount(m: Machine) -> Iterator[int]:
    for _, span in m.zones:
        for block in m.pageblocks(span):
            if m.online(block[0]):
                yield from block


def offline_blocks(m: Machine) -> Iterator[range]:
    """Pageblocks of the memory blocks that could go offline."""
    for block_id, block in m.kernel.blocks.items():
        pfns = m.kernel.block_pfns(block_id)
        span = range(pfns.start_pfn + block.nr_vmemmap_pages, pfns.end_pfn)
        whole = m.kernel.iomem.system_ram(PfnRange(span.start, span.stop)) == len(span)
        if block.state == BlockState.MEM_ONLINE and block.zone is not None and whole:
            yield from m.pageblocks(span)


def twin_start_isolate(m: Machine) -> Iterator[int]:
    for block in offline_blocks(m):
        found = next((pfn for pfn in block if m.online(pfn)), None)
        if found is not None:
            yield found


def twin_has_unmovable_pages(m: Machine) -> Iterator[int]:
    for block in offline_blocks(m):
        found = next((pfn for pfn in block if m.online(pfn)), None)
        if found is not None:
            yield from range(found, block.stop)


def twin_test_pages_isolated(m: Machine) -> Iterator[int]:
    for block in offline_blocks(m):
        yield from block


TWINS: dict[str, tuple[Callable[[Extents], ExtentMask], Loop]] = {
    "every_pfn": (lambda x: every_pfn(x, ANY), twin_every_pfn),
    "every_nth_pfn": (
        lambda x: every_nth_pfn(x, x.geometry.pages_per_section, ANY), twin_every_nth_pfn,
    ),
    "first_pfn_decides": (
        lambda x: first_pfn_decides(x, x.geometry.pages_per_section, ANY), twin_first_pfn_decides,
    ),
    "every_pfn_of_zones": (lambda x: every_pfn_of_zones(x, ANY), twin_every_pfn_of_zones),
    "pages_of_zones": (lambda x: pages_of_zones(x, ANY), twin_pages_of_zones),
    "find_smallest_section_pfn": (
        WALKERS["find_smallest_section_pfn"].reads, twin_find_smallest,
    ),
    "find_biggest_section_pfn": (WALKERS["find_biggest_section_pfn"].reads, twin_find_biggest),
    "showblockcount": (WALKERS["pagetypeinfo_showblockcount_print"].reads, twin_showblockcount),
    "shuffle_valid_page": (WALKERS["shuffle_valid_page"].reads, twin_shuffle),
    "__pageblock_pfn_to_page": (
        WALKERS["__pageblock_pfn_to_page"].reads, twin_test_of_pageblocks,
    ),
    "whole_pageblocks": (whole_pageblocks, twin_whole_pageblocks),
    "pageblock_pfn_to_page": (pageblock_pfn_to_page, twin_pageblock_pfn_to_page),
    "resettable": (resettable, twin_resettable),
    "__reset_isolation_pfn": (WALKERS["__reset_isolation_pfn"].reads, twin_reset_isolation),
    "showmixedcount": (WALKERS["pagetypeinfo_showmixedcount_print"].reads, twin_showmixedcount),
    "start_isolate_page_range": (WALKERS["start_isolate_page_range"].reads, twin_start_isolate),
    "has_unmovable_pages": (WALKERS["has_unmovable_pages"].reads, twin_has_unmovable_pages),
    "test_pages_isolated": (WALKERS["test_pages_isolated"].reads, twin_test_pages_isolated),
}  # fmt: skip


@cache
def scrambled(seed: int, sizes: Geometry) -> Kernel:
    """A machine with two added sections, whose struct pages and sections say anything."""
    choose = random.Random(seed)
    name = choose.choice(["collision", "leading-hole", "two-nodes", "auto-online"])
    kernel = Kernel.boot(sizes, MAINLINE, LAYOUTS[name](sizes))
    for section in kernel.layout.window[2:4]:
        assert Checker(kernel).apply(add(section)).refusal is None
    end = sizes.all_pfns.end_pfn
    for _ in range(choose.randrange(20)):
        start = choose.randrange(end)
        pfns = PfnRange(start, choose.randint(start + 1, min(end, start + 12)))
        value: dict[str, tuple[int, ...]] = {
            "content": tuple(PageContent), "zone": tuple(ZoneType), "nid": (0, 1),
            "refcount": (0, 1), "page_flags": (0, *PageFlag), "subsection": (0, 1),
            "section_flags": (0, 0x2F, 0x27, 0x2B, 0x0F),
        }  # fmt: skip
        for column in choose.sample(sorted(value), 3):
            kernel.pfns.write(pfns, **{column: choose.choice(value[column])})
    kernel.pfns.merge()
    for zone in (zone for node in kernel.nodes.values() for zone in node.zones):
        zone.contiguous = choose.randrange(2)
    return kernel


@pytest.mark.unmeasured
@pytest.mark.parametrize("sizes", [GEOMETRIES["tiny"], COARSE], ids=["tiny", "coarse"])
@pytest.mark.parametrize("name", TWINS)
def test_rows_are_those_that_the_page_at_a_time_loop_reads(name: str, sizes: Geometry) -> None:
    vectorised, loop = TWINS[name]
    told_apart = 0
    for seed in range(60):
        machine = Machine(scrambled(seed, sizes))
        rows = vectorised(machine.x)
        assert set(rows.nonzero()[0].tolist()) == machine.rows(loop(machine)), f"seed {seed}"
        told_apart += bool(rows.any() and not rows.all())
    assert told_apart > 20


def twin_read_page_owner(m: Machine) -> Iterator[int]:
    pfn, size = 0, m.sizes.max_order_nr_pages
    while pfn < m.sizes.all_pfns.end_pfn:
        if pfn % size == 0 and not m.at(m.x.pfn_valid, pfn):
            pfn += size
            continue
        if m.kernel.pfns.at(pfn, "content") != PageContent.POISONED:
            yield pfn
        pfn += 1


def test_who_asks_for_the_first_pfn_of_a_chunk_reads_all_of_it() -> None:
    rules = replace(MAINLINE, asks_pfn_valid=frozenset({"read_page_owner"}))
    invalid = 0
    for seed in range(60):
        kernel = scrambled(seed, COARSE).snapshot()
        kernel.rules = rules
        machine = Machine(kernel)
        rows = WALKERS["read_page_owner"].reads(machine.x)
        assert set(rows.nonzero()[0].tolist()) == machine.rows(twin_read_page_owner(machine))
        invalid += int((rows & ~machine.x.pfn_valid).any())
    assert invalid


def test_a_visit_counts_from_the_start_of_the_zone_unless_told_otherwise() -> None:
    x = Kernel.boot(COARSE, MAINLINE, LAYOUTS["collision"](COARSE)).extents()
    spans = [zone.span.start_pfn for zone in x.kernel.nodes[0].zones if zone.present_pages]
    assert spans == [0, 5]
    x.kernel.pfns.cut(PfnRange(9, 10))
    cut = x.kernel.extents()
    assert x.kernel.geometry.pageblock_nr_pages == 4
    assert cut.where(visits(cut, 4) & (cut.start_pfn == 9)) == (PfnRange(9, 10),)
    assert cut.where(visits(cut, 4, 0) & (cut.start_pfn == 9)) == ()
