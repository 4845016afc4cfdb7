"""Sizes of the modelled machine and the pfn arithmetic that follows from them.

No other file may assume a size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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

    arch: str = "x86"
    """Whose vmemmap_populate() and vmemmap_free() are used."""
    page_shift: int = 12
    section_size_bits: int
    subsection_shift: int = 21
    pageblock_order: int = 9
    max_order: int = 10
    """Order of the largest buddy chunk."""
    hugetlb_order: int = 9
    gigantic_order: int = 18
    """Orders of the two sizes of HugeTLB pages."""
    struct_page_bytes: int = 64
    pmd_shift: int = 21
    """Bytes that one huge mapping of vmemmap covers."""
    pgdir_shift: int = 39
    """Bytes of vmemmap below one entry of the top-level page table, of which each mm has one."""
    maps_vmemmap_huge: bool = True
    """Whether vmemmap may be mapped huge at all; arm64 with 64K pages does not."""
    sparsemem_vmemmap: bool = True
    """Whether the architecture offers SPARSEMEM_VMEMMAP."""
    max_physmem_bits: int = 46
    unsigned_bits: int = 32
    """Bits of a pfn that an ``unsigned int`` holds; not all, as above 16 TiB."""
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
    def hugetlb_sizes(self) -> tuple[int, int]:
        """Pages in a HugeTLB page of either size."""
        return 1 << self.hugetlb_order, 1 << self.gigantic_order

    @property
    def all_pfns(self) -> PfnRange:
        """Everything below ``1 << MAX_PHYSMEM_BITS``."""
        return PfnRange(0, 1 << (self.max_physmem_bits - self.page_shift))

    @property
    def subsections_share_pages(self) -> bool:
        """Whether a base page of vmemmap describes more than one subsection."""
        return bool(self.pages_per_subsection * self.struct_page_bytes % self.page_bytes)

    @property
    def huge_pages(self) -> int:
        """Pages of vmemmap that one huge mapping covers."""
        return max(1, 1 << (self.pmd_shift - self.page_shift))

    def pgds_of(self, pages: PfnRange) -> range:
        """Numbers of the top-level entries that map *pages* of vmemmap; ``pgd_index()``."""
        size = max(1, 1 << (self.pgdir_shift - self.page_shift))
        return range(pages.start_pfn // size, -(-pages.end_pfn // size))

    @property
    def vmemmap_pages(self) -> PfnRange:
        """Every page of vmemmap, by number, to the end of the last huge mapping."""
        pages = self.memmap_of(self.all_pfns)
        return PfnRange(0, -(-pages.end_pfn // self.huge_pages) * self.huge_pages)

    def bytes_of(self, pages: PfnRange) -> PfnRange:
        """Addresses of *pages*: of pfns the physical ones, of vmemmap those within it."""
        return PfnRange(pages.start_pfn << self.page_shift, pages.end_pfn << self.page_shift)

    def memmap_of(self, pfns: PfnRange) -> PfnRange:
        """The pages of vmemmap that hold a struct page of *pfns*, or a part of one."""
        start, end = (pfn * self.struct_page_bytes for pfn in (pfns.start_pfn, pfns.end_pfn))
        return PfnRange(start >> self.page_shift, -(-end >> self.page_shift))

    def walk_of(self, pfns: PfnRange) -> PfnRange:
        """The pages of vmemmap that a loop visits which steps a page at a time from where
        the memmap of *pfns* starts to where it ends.

        If both lie within a page it does not get to the last one. With 4K pages a
        subsection's memmap is whole pages, with 64K pages it is the 32nd part of one.
        """
        start, end = (pfn * self.struct_page_bytes for pfn in (pfns.start_pfn, pfns.end_pfn))
        first = start >> self.page_shift
        return PfnRange(first, first + -(-(end - start) >> self.page_shift))

    def described_by(self, pages: PfnRange) -> PfnRange:
        """The pfns whose struct pages lie in *pages* of vmemmap, or reach into them."""
        start, end = (page << self.page_shift for page in (pages.start_pfn, pages.end_pfn))
        last = -(-end // self.struct_page_bytes)
        described = PfnRange(start // self.struct_page_bytes, last)
        return described.intersection(self.all_pfns)

    def huge_regions(self, pages: PfnRange) -> list[PfnRange]:
        """The huge regions of vmemmap that *pages* touch, whole, in order."""
        size = self.huge_pages
        first, last = pages.start_pfn // size, -(-pages.end_pfn // size)
        return [PfnRange(n * size, (n + 1) * size) for n in range(first, last)]

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

    def section_root(self, pfn: int) -> int:
        """``SECTION_NR_TO_ROOT()`` of the section of *pfn*: a page holds 16 bytes for each."""
        return self.section_nr(pfn) // max(1, self.page_bytes // 16)

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

# The tiny ones keep the proportions of the large ones: on x86-64 a subsection's memmap
# is whole pages and a section's is one huge mapping, one subsection's worth of memory
# and one pageblock.
TINY = GEOMETRIES.add(
    "tiny",
    Geometry(
        page_shift=7, section_size_bits=10, subsection_shift=8, pageblock_order=1, max_order=1,
        max_physmem_bits=12, pmd_shift=9, max_dma_pfn=2, unsigned_bits=4, hugetlb_order=2,
        gigantic_order=4,
    ),
)  # fmt: skip
"""4 sections of 4 subsections of 2 pages; every boundary condition survives."""
GEOMETRIES.add(
    "tiny_56",
    Geometry(
        page_shift=7, section_size_bits=13, subsection_shift=11, pageblock_order=4, max_order=4,
        struct_page_bytes=56, max_physmem_bits=15, pmd_shift=12, pgdir_shift=13, max_dma_pfn=16,
    ),
)  # fmt: skip
"""As x86-64 with 56-byte struct pages: 7 of 8 parts of a huge mapping a section. What is
added lies below another top-level entry than what boot maps."""
GEOMETRIES.add("tiny_arm64", replace(TINY, arch="arm64"))
GEOMETRIES.add(
    "tiny_arm64_64k",
    replace(
        TINY, arch="arm64", page_shift=8, section_size_bits=11, subsection_shift=9,
        max_physmem_bits=13, maps_vmemmap_huge=False,
    ),
)  # fmt: skip
"""Two subsections share a page of vmemmap."""
GEOMETRIES.add("tiny_powerpc", replace(TINY, arch="powerpc", pmd_shift=10))
"""One mapping of vmemmap describes two sections."""
GEOMETRIES.add("tiny_s390", replace(TINY, arch="s390", pmd_shift=8))
"""Two huge mappings of vmemmap a section."""
GEOMETRIES.add("tiny_ia64", replace(TINY, arch="ia64", maps_vmemmap_huge=False))
GEOMETRIES.add("tiny_x86_32", replace(TINY, arch="x86_32", sparsemem_vmemmap=False))
GEOMETRIES.add("tiny_sh", replace(TINY, arch="sh", sparsemem_vmemmap=False))
GEOMETRIES.add("tiny_tile", replace(TINY, arch="tile", sparsemem_vmemmap=False))
GEOMETRIES.add(
    "small",
    Geometry(
        page_shift=8, section_size_bits=13, subsection_shift=10, pageblock_order=2, max_order=3,
        max_physmem_bits=16, pmd_shift=11, max_dma_pfn=4,
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
    Geometry(
        arch="arm64", section_size_bits=27, max_physmem_bits=48, max_dma_pfn=1 << 18,
        max_dma32_pfn=1 << 20,
    ),
)
GEOMETRIES.add(
    "arm64_4k_5_11",
    Geometry(
        arch="arm64", section_size_bits=30, max_physmem_bits=48, max_dma_pfn=1 << 18,
        max_dma32_pfn=1 << 20,
    ),
)
GEOMETRIES.add(
    "arm64_64k",
    Geometry(
        arch="arm64", maps_vmemmap_huge=False,
        page_shift=16, section_size_bits=29, pageblock_order=13, max_order=13, pmd_shift=29,
        max_physmem_bits=52, max_dma_pfn=1 << 14, max_dma32_pfn=1 << 16,
    ),
)  # fmt: skip
GEOMETRIES.add(
    "powerpc_64k",
    Geometry(
        arch="powerpc",
        page_shift=16, section_size_bits=24, pageblock_order=5, max_order=8, pmd_shift=24,
        max_physmem_bits=51,
    ),
)  # fmt: skip
GEOMETRIES.add(
    "powerpc_4k",
    Geometry(arch="powerpc", section_size_bits=24, pmd_shift=24, max_physmem_bits=51),
)
GEOMETRIES.add(
    "s390",
    Geometry(
        arch="s390", section_size_bits=28, pageblock_order=8, pmd_shift=20, max_dma_pfn=1 << 19
    ),
)
