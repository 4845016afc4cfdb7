"""Sizes of real machines, written out by hand, and pfn arithmetic."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotplug_model.errors import UserError
from hotplug_model.geometry import GEOMETRIES, TINY, X86_64, Geometry
from hotplug_model.pfn import PfnRange, merge_ranges
from stateful_tests.kernels import pages

# Pages a section, a subsection, a pageblock; subsections a section; memmap pages a section.
TABLE = {
    "x86_64": (32768, 512, 512, 64, 512),
    "x86_64_56": (32768, 512, 512, 64, 448),
    "arm64_4k": (32768, 512, 512, 64, 512),
    "arm64_4k_5_11": (262144, 512, 512, 512, 4096),
    "arm64_64k": (8192, 32, 8192, 256, 8),
    "powerpc_4k": (4096, 512, 512, 8, 64),
    "powerpc_64k": (256, 32, 32, 8, 1),
    "s390": (65536, 512, 256, 128, 1024),
    "tiny": (8, 2, 2, 4, 4),
    "tiny_56": (64, 16, 16, 4, 28),
    "tiny_arm64": (8, 2, 2, 4, 4),
    "tiny_arm64_64k": (8, 2, 2, 4, 2),
    "tiny_powerpc": (8, 2, 2, 4, 4),
    "tiny_s390": (8, 2, 2, 4, 4),
    "tiny_ia64": (8, 2, 2, 4, 4),
    "tiny_x86_32": (8, 2, 2, 4, 4),
    "tiny_sh": (8, 2, 2, 4, 4),
    "tiny_tile": (8, 2, 2, 4, 4),
    "small": (32, 4, 4, 8, 8),
}
MIB = 1 << 20
# Bytes in a section, end of ZONE_DMA, end of ZONE_DMA32 (0 if there is none).
BYTES = {
    "x86_64": (128 * MIB, 16 * MIB, 4096 * MIB),
    "x86_64_56": (128 * MIB, 16 * MIB, 4096 * MIB),
    "arm64_4k": (128 * MIB, 1024 * MIB, 4096 * MIB),
    "arm64_4k_5_11": (1024 * MIB, 1024 * MIB, 4096 * MIB),
    "arm64_64k": (512 * MIB, 1024 * MIB, 4096 * MIB),
    "powerpc_4k": (16 * MIB, 0, 0),
    "powerpc_64k": (16 * MIB, 0, 0),
    "s390": (256 * MIB, 2048 * MIB, 0),
}


@pytest.mark.parametrize("name", GEOMETRIES.names())
def test_a_preset_has_the_sizes_of_its_kernel(name: str) -> None:
    geometry = GEOMETRIES[name]
    assert TABLE[name] == (
        geometry.pages_per_section,
        geometry.pages_per_subsection,
        geometry.pageblock_nr_pages,
        geometry.subsections_per_section,
        geometry.memmap_pages_per_section,
    )


@pytest.mark.parametrize("name", BYTES)
def test_a_preset_has_the_bytes_of_its_architecture(name: str) -> None:
    geometry = GEOMETRIES[name]
    assert BYTES[name] == (
        geometry.pages_per_section * geometry.page_bytes,
        geometry.max_dma_pfn * geometry.page_bytes,
        geometry.max_dma32_pfn * geometry.page_bytes,
    )


@pytest.mark.parametrize("name", BYTES)
def test_a_subsection_of_a_real_kernel_is_two_mib(name: str) -> None:
    geometry = GEOMETRIES[name]
    assert geometry.pages_per_subsection * geometry.page_bytes == 2 * MIB


def geometry(**shifts: int) -> Geometry:
    sizes: dict[str, Any] = {"section_size_bits": 27, **shifts}
    return Geometry(**sizes)


@pytest.mark.parametrize(
    "shifts",
    [
        {"page_shift": 0},
        {"page_shift": -1},
        {"subsection_shift": 11},
        {"subsection_shift": 28},
        {"section_size_bits": 20},
        {"section_size_bits": 47},
        {"max_physmem_bits": 63},
        {"struct_page_bytes": 55},
        {"struct_page_bytes": 97},
    ],
    ids=str,
)
def test_impossible_sizes_are_refused_in_one_line(shifts: dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"^geometry: [^\n]+$"):
        geometry(**shifts)


def test_the_largest_and_the_smallest_struct_page_are_accepted() -> None:
    assert geometry(struct_page_bytes=56).memmap_pages_per_section == 448
    assert geometry(struct_page_bytes=96).memmap_pages_per_section == 1024


def test_an_unknown_geometry_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean x86_64"):
        GEOMETRIES["x86-64"]


# Arithmetic


def test_a_range_touches_every_section_that_one_of_its_pfns_is_in() -> None:
    assert TINY.sections_of(pages(6, 18)) == range(0, 3)
    assert TINY.sections_of(pages(8, 16)) == range(1, 2)
    assert TINY.sections_of(pages(8, 8)) == range(0)


def test_chunks_are_cut_at_section_boundaries() -> None:
    assert TINY.section_chunks(pages(6, 18)) == [pages(6, 8), pages(8, 16), pages(16, 18)]
    assert TINY.section_chunks(pages(8, 8)) == []


def test_addresses_are_shown_in_the_largest_unit_that_fits() -> None:
    assert X86_64.mib(PfnRange(0, 32768)) == "0M-128M"
    assert X86_64.mib(PfnRange(1, 512)) == "4K-2M"


ranges = st.builds(pages, st.integers(0, 40), st.integers(0, 40))


@given(ranges, ranges)
def test_ranges_are_sets_of_pfns(first: PfnRange, second: PfnRange) -> None:
    one, two = (set(range(each.start_pfn, each.end_pfn)) for each in (first, second))
    shared = first.intersection(second)
    assert set(range(shared.start_pfn, shared.end_pfn)) == one & two
    if one and two:
        assert first.overlaps(second) == bool(one & two)
        assert first.contains(second) == (two <= one)
    assert all((pfn in first) == (pfn in one) for pfn in range(41))
    assert max(0, first.nr_pages) == len(one)


@given(st.lists(st.integers(0, 60), unique=True, max_size=12))
def test_merging_keeps_the_pfns_and_leaves_no_touching_ranges(pfns: list[int]) -> None:
    merged = merge_ranges(pages(pfn, pfn + 1) for pfn in sorted(pfns))
    assert [pfn for each in merged for pfn in range(each.start_pfn, each.end_pfn)] == sorted(pfns)
    assert all(a.end_pfn < b.start_pfn for a, b in pairwise(merged))


def test_a_range_is_aligned_if_both_ends_are() -> None:
    assert [pages(4, end).is_aligned(4) for end in (8, 9)] == [True, False]
    assert not pages(3, 8).is_aligned(4)


def test_a_range_prints_in_hexadecimal_half_open() -> None:
    assert str(pages(64, 128)) == "[0x40-0x80)"
