"""Seed 004: marks in memblock for shared vmemmap, fault by fault, and the section map."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hotplug_model import steps
from hotplug_model.changes import CHANGES, KernelVariant
from hotplug_model.changes.change import Change
from hotplug_model.changes.proposal_seed_004 import sharing
from hotplug_model.checker import Checker
from hotplug_model.flags import MHP_MEMMAP_ON_MEMORY, MappingLevel, MemmapOrigin
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.minimise import minimise
from hotplug_model.mm.arm64_unused_vmemmap import base_pages, is_unused_without
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.mm.memblock import memblock_mark_unused_vmemmap
from hotplug_model.mm.sparse_vmemmap import described_and_valid
from hotplug_model.ops import Op
from hotplug_model.ops.every import kinds_named
from hotplug_model.ops.faults import draw_with_fault
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import KernelRules
from hotplug_model.state.memblock import (
    POSTED,
    POSTED_UNUSED_VMEMMAP,
    Memblock,
    MemblockFlag,
    UnusedVmemmap,
    UnusedVmemmapQuery,
)
from hotplug_model.trace import Trace, broken, replay
from stateful_tests.kernels import HOLE, C, D, Seeded, add, boot, device, do, layout, pages, remove

REGRESSIONS = Path(__file__).parent.parent / "regressions"
FAULTS = [change for change in CHANGES if change.name.startswith("seed004") and change.breaks]
SOUND = ("seed004-corrected", "seed004-section-map")
ARM64 = ("tiny_arm64", "tiny_arm64_64k")
LAYOUTS = ("collision", "large-blocks", "memmap-on-memory")
every_fault = pytest.mark.parametrize("change", FAULTS, ids=lambda change: change.name)
CORRECTED = UnusedVmemmap()
BY_MAP = UnusedVmemmap(decided_by="section_map")


def trace_of(change: Change) -> Trace:
    name = "seed004-posted" if change.name == "seed004" else change.name
    return Trace.loads((REGRESSIONS / f"{name}.json").read_text(encoding="utf-8"))


def kernel_with(how: UnusedVmemmap, geometry: str = "tiny_arm64") -> Kernel:
    return boot(geometry=geometry, rules=sharing(MAINLINE, how))


def gone(pgmap_id: int = 0) -> Op:
    return MemunmapPages(pgmap_id)


def replayed_with(trace: Trace, how: UnusedVmemmap) -> tuple[str, ...]:
    """What *trace* breaks in a kernel that shares as *how* says."""

    def apply(rules: KernelRules) -> KernelRules:
        return sharing(rules, how)

    own = Change(name="own", subject="", since=None, rewrite=apply)
    return broken(replay(trace, KernelVariant(changes=(own,)))[1])


# Each fault


@every_fault
def test_a_fault_breaks_what_it_says_with_the_last_event_of_its_trace(change: Change) -> None:
    trace = trace_of(change)
    last, found = replay(trace)
    assert last == len(trace.events) - 1
    assert broken(found) == trace.violates == tuple(sorted(change.breaks))


@every_fault
def test_no_event_of_a_trace_can_be_spared(change: Change) -> None:
    assert minimise(trace_of(change)).events == trace_of(change).events


@every_fault
@pytest.mark.parametrize("other", [None, *SOUND])
def test_mainline_the_corrected_marks_and_the_section_map_survive_it(
    change: Change, other: str | None
) -> None:
    sound = KernelVariant.named(None, (other,) if other else ())
    assert replay(trace_of(change), sound) == (None, [])


@pytest.mark.parametrize("helper", ["checks_search", "checks_coverage"])
def test_a_helper_that_misses_what_is_unknown_is_harmless_where_all_is_known(helper: str) -> None:
    how = UnusedVmemmap(helpers=replace(UnusedVmemmapQuery(), **{helper: False}))
    assert {replayed_with(trace_of(change), how) for change in FAULTS} == {()}


def test_nothing_but_memory_is_ever_asked_about_so_the_type_does_not_matter() -> None:
    how = UnusedVmemmap(helpers=UnusedVmemmapQuery(honours_type=False))
    assert {replayed_with(trace_of(change), how) for change in FAULTS} == {()}


def test_unmarking_what_comes_into_use_and_what_is_freed_is_right_in_the_posted_series() -> None:
    assert POSTED_UNUSED_VMEMMAP.clears_reused
    assert POSTED_UNUSED_VMEMMAP.clears_freed
    assert POSTED_UNUSED_VMEMMAP.helpers == POSTED


# The corrected proposals hold


KINDS = kinds_named((
    "online_memory_block", "offline_memory_block", "add_memory", "remove_memory",
    "offline_and_remove_memory", "memremap_pages", "memunmap_pages",
))  # fmt: skip
"""Operations that populate vmemmap, or lead to that it is freed."""


def walks(name: str, geometry: str, of: str) -> Iterator[Checker]:
    """The machine behind each of 96 random steps, in which allocations may fail."""
    rules, sound = KernelVariant.named(None, (name,)).rules(), set[bytes]()
    for seed in range(8):
        checker, choose = Checker(boot(of, geometry, rules), sound=sound), Seeded(seed)
        for _ in range(12):
            enabled = [op for op in KINDS if op.enabled(checker.kernel)]
            cls = enabled[choose.index(len(enabled))]
            outcome = checker.apply(draw_with_fault(cls, checker.kernel, choose))
            assert outcome.violations == []
            yield checker


@pytest.mark.unmeasured
@pytest.mark.parametrize("of", LAYOUTS)
@pytest.mark.parametrize("geometry", ARM64)
def test_the_section_map_holds_on_a_random_walk(geometry: str, of: str) -> None:
    for checker in walks("seed004-section-map", geometry, of):
        assert marked(checker.kernel) == set()


@pytest.mark.unmeasured
@pytest.mark.parametrize("of", LAYOUTS)
@pytest.mark.parametrize("geometry", ARM64)
def test_marked_is_what_is_mapped_and_describes_nothing(geometry: str, of: str) -> None:
    seen: set[int] = set()
    for checker in walks("seed004-corrected", geometry, of):
        assert marked(checker.kernel) == unused(checker.kernel)
        seen |= marked(checker.kernel)
    assert seen


def marked(kernel: Kernel) -> set[int]:
    """Addresses of struct pages that are marked, in memory that only vmemmap uses."""
    size = kernel.geometry.struct_page_bytes
    home = kernel.geometry.bytes_of(kernel.geometry.all_pfns).end_pfn
    mark = MemblockFlag.MEMBLOCK_UNUSED_VMEMMAP
    regions = [rgn for rgn in kernel.memblock.known() if rgn.flags & mark]
    return {(at - home) // size for rgn in regions for at in range(rgn.base, rgn.end, size)}


def unused(kernel: Kernel) -> set[int]:
    """Pfns whose struct page the buddy allocator's memory has room for, though not valid."""
    found: set[int] = set()
    for mapped, row in kernel.vmemmap.runs_of(kernel.geometry.vmemmap_pages):
        if row["origin"] == MemmapOrigin.BUDDY:
            described = kernel.geometry.described_by(mapped)
            every = range(described.start_pfn, described.end_pfn)
            found |= {pfn for pfn in every if not kernel.pfns.at(pfn, "subsection")}
    return found


# Limits


def full(kernel: Kernel) -> Kernel:
    """*kernel* with no slot of memblock's array free."""
    known = kernel.memblock
    kernel.memblock = Memblock(known.regions[: known.cnt].copy(), known.cnt)
    return kernel


def test_without_room_for_marks_the_corrected_series_refuses_and_the_posted_one_leaks() -> None:
    first, second = device(pages(16, 18)), gone()
    kernel = full(kernel_with(CORRECTED))
    before = kernel.vmemmap.fingerprint()
    assert do(kernel, first) == errno.ENOMEM
    assert kernel.vmemmap.fingerprint() == before
    leaky = full(kernel_with(replace(CORRECTED, helpers=POSTED)))
    assert do(leaky, first, second) is None
    assert leaky.vmemmap.at(8, "level") == MappingLevel.PMD
    by_map = full(kernel_with(BY_MAP))
    assert do(by_map, first, second) is None
    assert by_map.vmemmap.at(8, "level") == MappingLevel.NONE


def test_a_whole_block_is_neither_marked_nor_asked_about() -> None:
    kernel = full(kernel_with(CORRECTED))
    before = kernel.memblock.numbers()
    assert do(kernel, device(C), gone()) is None
    assert kernel.memblock.numbers() == before
    assert kernel.vmemmap.at(8, "level") == MappingLevel.NONE


def test_a_block_that_hosts_its_own_memmap_shares_it_with_nobody() -> None:
    kernel = boot("memmap-on-memory", "tiny_arm64", sharing(MAINLINE, CORRECTED))
    assert do(kernel, add(C, mhp_flags=MHP_MEMMAP_ON_MEMORY)) is None
    assert kernel.vmemmap.at(8, "origin") == MemmapOrigin.SELF_HOSTED
    assert not any(rgn.flags for rgn in kernel.memblock.known())
    assert do(kernel, remove(C)) is None
    assert kernel.vmemmap.at(8, "level") == MappingLevel.NONE


def test_hot_memory_is_known_to_memblock_while_it_is_there() -> None:
    kernel = kernel_with(CORRECTED)
    before, where = kernel.memblock.numbers(), kernel.geometry.bytes_of(D)
    assert do(kernel, add(D)) is None
    held = [rgn for rgn in kernel.memblock.known() if rgn.base <= where.start_pfn < rgn.end]
    assert [rgn.end >= where.end_pfn for rgn in held] == [True]
    assert do(kernel, remove(D)) is None
    assert kernel.memblock.numbers(stale=False) == before


@pytest.mark.parametrize(
    ("how", "told_apart"), [(None, False), (BY_MAP, False), (CORRECTED, True)],
    ids=["mainline", "section map", "marks"],
)  # fmt: skip
def test_marks_are_state_where_they_matter(how: UnusedVmemmap | None, told_apart: bool) -> None:
    kernel = boot(geometry="tiny_arm64", rules=replace(MAINLINE, unused_vmemmap=how))
    before = kernel.fingerprint()
    memblock_mark_unused_vmemmap(kernel.memblock, pages(0, 64))
    assert (kernel.fingerprint() != before) == told_apart


@pytest.mark.parametrize("stops", [True, False])
def test_stale_slots_are_state_where_they_are_read(stops: bool) -> None:
    helpers = UnusedVmemmapQuery(stops_at_cnt=stops)
    kernel = kernel_with(replace(CORRECTED, helpers=helpers))
    before = kernel.fingerprint()
    kernel.memblock.regions[kernel.memblock.cnt] = 1, 2, 0, 0
    assert (kernel.fingerprint() == before) == stops


@pytest.mark.parametrize("arch", ["tiny", "tiny_arm64"])
def test_memblock_outlives_boot_on_arm64_only(arch: str) -> None:
    assert boot(geometry=arch).memblock.is_empty == (arch == "tiny")


# Robin Murphy: "shouldn't the section map already be enough?"


def asked(kernel: Kernel, pfns: PfnRange) -> bool:
    region = kernel.geometry.memmap_of(C)
    part = kernel.geometry.bytes_of(kernel.geometry.memmap_of(pfns))
    return is_unused_without(kernel, region, part, BY_MAP)


def test_the_section_map_knows_once_the_bits_of_what_goes_are_cleared() -> None:
    kernel, first = kernel_with(BY_MAP), pages(16, 18)
    assert do(kernel, device(first)) is None
    assert not asked(kernel, first)
    kernel.pfns.write(first, subsection=0)
    assert asked(kernel, first)


def test_subsection_bits_do_not_tell_that_boot_mapped_all_of_an_early_section() -> None:
    kernel = kernel_with(BY_MAP)
    assert not kernel.pfns.within(HOLE, "subsection").any()
    assert described_and_valid(kernel, kernel.geometry.memmap_of(HOLE)) is not None


def test_the_section_map_does_not_tell_who_aliases_a_tail_page_from_elsewhere() -> None:
    kernel = boot()
    both = MemremapPages(0, (PfnRange(C.start_pfn, D.end_pfn),), "generic", 0, (), 4)
    assert do(kernel, both) is None
    memmap = kernel.geometry.memmap_of(C)
    seen: list[tuple[PfnRange | None, bool]] = []

    def look(milestone: str) -> None:
        aliases = kernel.vmemmap.within(kernel.geometry.memmap_of(D), "tail")
        if milestone == "section_deactivate" and not seen:
            held = any(memmap.start_pfn <= tail < memmap.end_pfn for tail in aliases)
            seen.append((described_and_valid(kernel, memmap), held))

    assert steps.run(gone().steps(kernel), look) is None
    assert seen == [(None, True)]


@pytest.mark.parametrize("struct_page_bytes", [56, 64])
def test_no_mapping_was_shared_on_arm64_when_the_series_was_posted(struct_page_bytes: int) -> None:
    sections = replace(GEOMETRIES["arm64_4k_5_11"], struct_page_bytes=struct_page_bytes)
    memmap = sections.pages_per_section * struct_page_bytes
    assert memmap % (1 << sections.pmd_shift) == 0
    large = replace(GEOMETRIES["arm64_64k"], section_size_bits=30)
    assert large.pages_per_section * struct_page_bytes % large.page_bytes == 0


def test_blocks_are_shared_by_subsections_and_where_struct_pages_have_56_bytes() -> None:
    today = GEOMETRIES["arm64_4k"]
    assert today.pages_per_subsection * 64 < 1 << today.pmd_shift
    assert today.pages_per_section * 56 % (1 << today.pmd_shift) != 0


# Arithmetic


@pytest.mark.parametrize(
    ("part", "cut"),
    [
        ((0, 512), [(0, 2)]),
        ((0, 128), [(0, 1)]),
        ((128, 256), [(0, 1)]),
        ((128, 640), [(0, 1), (1, 2), (2, 3)]),
        ((0, 640), [(0, 2), (2, 3)]),
        ((128, 384), [(0, 1), (1, 2)]),
    ],
)  # fmt: skip
def test_a_part_is_cut_into_pages_that_it_shares_and_pages_that_it_fills(
    part: tuple[int, int], cut: list[tuple[int, int]]
) -> None:
    kernel = boot(layout(geometry="tiny_arm64_64k"), "tiny_arm64_64k")
    cuts = base_pages(kernel, PfnRange(*part))
    assert [(each.start_pfn, each.end_pfn) for each, _ in cuts] == cut
    joined = [pfn for _, used in cuts for pfn in range(used.start_pfn, used.end_pfn)]
    assert joined == list(range(*part))
