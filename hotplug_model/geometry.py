"""Sizes of the modelled machine and the pfn arithmetic that follows from them.

No other file may assume a size.
"""

from __future__ import annotations

from dataclasses import dataclass

from hotplug_model.errors import UserError
from hotplug_model.pfn import PfnRange
from hotplug_model.registry import Registry

MIN_STRUCT_PAGE, MAX_STRUCT_PAGE = 56, 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """How physical memory is divided. Shifts are powers of two of bytes.

    Source: ``SECTION_SIZE_BITS`` of each architecture, ``SUBSECTION_SHIFT`` in
    include/linux/mmzone.h, the struct page size checks in mm/page_alloc.c.
    """

    page_shift: int = 12
    section_size_bits: int
    subsection_shift: int = 21
    pageblock_order: int = 9
    max_order: int = 10
    """Order of the largest buddy chunk."""
    struct_page_bytes: int = 64
    pmd_shift: int = 21
    """Bytes that one huge mapping of vmemmap covers."""
    max_physmem_bits: int = 46
    max_dma_pfn: int = 0
    """First pfn above ZONE_DMA; 0 if there is no such zone."""
    max_dma32_pfn: int = 0
    """First pfn above ZONE_DMA32; 0 if there is no such zone."""

    def __post_init__(self) -> None:
        order = (self.page_shift, self.subsection_shift, self.section_size_bits)
        if not 0 < order[0] <= order[1] <= order[2] <= self.max_physmem_bits <= 62:
            raise UserError(
                "geometry: page <= subsection <= section <= max_physmem_bits <= 62 "
                f"does not hold for shifts {order} and {self.max_physmem_bits}"
            )
        if not MIN_STRUCT_PAGE <= self.struct_page_bytes <= MAX_STRUCT_PAGE:
            raise UserError(
                f"geometry: struct page of {self.struct_page_bytes} bytes; the kernel "
                f"builds with {MIN_STRUCT_PAGE} to {MAX_STRUCT_PAGE}"
            )

    @property
    def page_bytes(self) -> int:
        """Bytes in a base page."""
        return 1 << self.page_shift

    @property
    def pages_per_section(self) -> int:
        """``PAGES_PER_SECTION``."""
        return 1 << (self.section_size_bits - self.page_shift)

    @property
    def pages_per_subsection(self) -> int:
        """``PAGES_PER_SUBSECTION``; one bit of a subsection map."""
        return 1 << (self.subsection_shift - self.page_shift)

    @property
    def subsections_per_section(self) -> int:
        """``SUBSECTIONS_PER_SECTION``: bits in a subsection map."""
        return 1 << (self.section_size_bits - self.subsection_shift)

    @property
    def pageblock_nr_pages(self) -> int:
        """``pageblock_nr_pages``: the unit of isolation and migratetypes."""
        return 1 << self.pageblock_order

    @property
    def max_order_nr_pages(self) -> int:
        """Pages in the largest buddy chunk."""
        return 1 << self.max_order

    @property
    def all_pfns(self) -> PfnRange:
        """Everything below ``1 << MAX_PHYSMEM_BITS``."""
        return PfnRange(0, 1 << (self.max_physmem_bits - self.page_shift))

    @property
    def memmap_pages_per_section(self) -> int:
        """Pages that a whole section's struct pages take, huge mappings included.

        x86-64 maps whole sections with PMDs, so that the altmap gives whole PMDs.
        """
        size = self.pages_per_section * self.struct_page_bytes
        unit = 1 << self.pmd_shift if size >= 1 << self.pmd_shift else self.page_bytes
        return -(-size // unit) * unit >> self.page_shift

    def section_nr(self, pfn: int) -> int:
        """``pfn_to_section_nr()``."""
        return pfn // self.pages_per_section

    def section_pfns(self, section_nr: int) -> PfnRange:
        """Every pfn of a section."""
        start = section_nr * self.pages_per_section
        return PfnRange(start, start + self.pages_per_section)

    def sections_of(self, pfns: PfnRange) -> range:
        """Numbers of the sections that *pfns* touch."""
        if pfns.nr_pages <= 0:
            return range(0)
        return range(self.section_nr(pfns.start_pfn), self.section_nr(pfns.end_pfn - 1) + 1)

    def section_chunks(self, pfns: PfnRange) -> list[PfnRange]:
        """*pfns* cut at section boundaries, in order."""
        return [pfns.intersection(self.section_pfns(nr)) for nr in self.sections_of(pfns)]

    def mib(self, pfns: PfnRange) -> str:
        """*pfns* as MiB or KiB addresses, for people."""
        return f"{self._size(pfns.start_pfn)}-{self._size(pfns.end_pfn)}"

    def _size(self, pfn: int) -> str:
        kib = pfn << self.page_shift >> 10
        return f"{kib}K" if kib % 1024 else f"{kib >> 10}M"


GEOMETRIES: Registry[Geometry] = Registry("geometry")

# The tiny ones keep the proportions of x86-64: the memmap of a section is one huge
# mapping, one subsection and one pageblock.
TINY = GEOMETRIES.add(
    "tiny",
    Geometry(
        page_shift=8, section_size_bits=11, subsection_shift=9, pageblock_order=1, max_order=1,
        max_physmem_bits=13, pmd_shift=9, max_dma_pfn=2,
    ),
)  # fmt: skip
"""4 sections of 4 subsections of 2 pages; every boundary condition survives."""
GEOMETRIES.add(
    "small",
    Geometry(
        page_shift=9, section_size_bits=14, subsection_shift=11, pageblock_order=2, max_order=3,
        max_physmem_bits=17, pmd_shift=11, max_dma_pfn=4,
    ),
)  # fmt: skip
X86_64 = GEOMETRIES.add(
    "x86_64",
    Geometry(section_size_bits=27, max_dma_pfn=4096, max_dma32_pfn=1 << 20),
)
GEOMETRIES.add(
    "x86_64_56",
    Geometry(
        section_size_bits=27, struct_page_bytes=56, max_dma_pfn=4096, max_dma32_pfn=1 << 20
    ),
)
GEOMETRIES.add(
    "arm64_4k",
    Geometry(section_size_bits=27, max_physmem_bits=48, max_dma_pfn=1 << 18, max_dma32_pfn=1 << 20),
)
GEOMETRIES.add(
    "arm64_4k_5_11",
    Geometry(section_size_bits=30, max_physmem_bits=48, max_dma_pfn=1 << 18, max_dma32_pfn=1 << 20),
)
GEOMETRIES.add(
    "arm64_64k",
    Geometry(
        page_shift=16, section_size_bits=29, pageblock_order=13, max_order=13, pmd_shift=29,
        max_physmem_bits=52, max_dma_pfn=1 << 14, max_dma32_pfn=1 << 16,
    ),
)  # fmt: skip
GEOMETRIES.add(
    "powerpc_64k",
    Geometry(
        page_shift=16, section_size_bits=24, pageblock_order=5, max_order=8, pmd_shift=24,
        max_physmem_bits=51,
    ),
)  # fmt: skip
GEOMETRIES.add("powerpc_4k", Geometry(section_size_bits=24, pmd_shift=24, max_physmem_bits=51))
GEOMETRIES.add(
    "s390",
    Geometry(section_size_bits=28, pageblock_order=8, pmd_shift=20, max_dma_pfn=1 << 19),
)
