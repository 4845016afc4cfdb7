"""The zoo: 67 bugs, proposals and hazards of this field, and which change is which.

Each row is expressed by changes, or names the part of the model that it lacks. The
numbers have gaps; they are those of the collection that the rows come from.
"""

from __future__ import annotations

from dataclasses import dataclass

PARTS: dict[str, str] = {
    "sanitizers": "sanitizers and their shadows, which a model of pfns rightly leaves out",
}  # fmt: skip
"""What the model lacks, by the word that rows know it by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One bug, proposal or hazard."""

    number: int
    bug: str
    """What the faulty code does."""
    changes: tuple[str, ...] = ()
    """Names of the changes that express it; empty if none can."""
    lacks: str = ""
    """Which of PARTS it takes; empty if changes express it."""


def shown(number: int, bug: str, *changes: str) -> Row:
    """A row that the model expresses."""
    return Row(number=number, bug=bug, changes=changes)


def lacking(number: int, part: str, bug: str) -> Row:
    """A row that the model cannot express."""
    return Row(number=number, bug=bug, lacks=part)


SPARSE = (
    shown(1, "An emptied section keeps a section_mem_map that is not 0.", "1f503443e7df"),
    shown(2, "A boot usage map is freed as if allocated.", "usage-of-readded-section"),
    shown(3, "Without vmemmap a section is reset before its memmap is found.", "d41e2f3bd546"),
    shown(5, "Part of an early section takes its boot memmap with it.", "ef69bc9f689d"),
    shown(7, "The usage map is freed under a lockless pfn_valid().", "5ec8e8ea8b77"),
    shown(8, "pfn_valid() follows a usage pointer that became NULL.", "82f0b6f041fa"),
    lacking(9, "sanitizers", "pfn_valid() of a sanitizer enters itself again."),
    shown(10, "The early node number overlaps section flags.", "01c8d337d195"),
    shown(11, "Adding amid a section encodes the wrong memmap.", "memmap-by-pfn-to-page"),
    shown(12, "An existing root reads as a failure to add.", "existing-root-fails"),
    shown(13, "Pages of a higher-order block are freed unsplit.", "39d35edee453"),
)
WALKING = (
    shown(14, "Walkers of zones trust pfn_valid() before memory is online.", "2d070eab2e82"),
    shown(15, "pfn_to_online_page() ignores holes in a zone.", "b13bc35193d9"),
    shown(16, "pfn_to_online_page() ignores the subsection.", "9f9b02e5b346"),
    shown(17, "Device memory in an online section counts as online.", "1f90a3477df3"),
    shown(18, "The taint alone, without the subsection.", "seed001-taint-only"),
    shown(19, "/proc/kpage* read any valid pfn.", "aad5f69bc161"),
    shown(20, "memory_failure() takes any valid pfn.", "96c804a6ae8c"),
    shown(22, "page_owner reads any valid pfn.", "a26ee565b6cd"),
    shown(23, "Soft offlining takes any valid pfn.", "641fe2e9387a"),
    shown(24, "page_ext is freed under its lockless readers.", "b1d5488a252d"),
    shown(25, "/proc/kcore reads RAM that is offline or broken.", "0daa322b8ff9"),
    shown(26, "KVM takes PG_reserved to mean that nobody counts.", "a78986aae9b2"),
    shown(27, "Of a pageblock only the ends are asked, and by pfn_valid().", "2d070eab2e82"),
    shown(28, "arm64 says that device memory has no struct page.", "eeb0753ba27b"),
)
ZONES = (
    shown(29, "A shrinking zone reads uninitialised struct pages.", "shrink-asks-online"),
    shown(30, "A shrinking node reads uninitialised struct pages.", "00d6c019b5bc"),
    shown(32, "A zone shrinks when its memory is removed, not offlined.", "feee6b298916"),
    shown(35, "Boot initialises to the section's end, others' pages too.", "4aa9fc2a435a"),
    shown(36, "Blocks with holes go offline, and their holes online.", "c5e79ef561b0"),
    shown(38, "A block's zone is read from uninitialised struct pages.", "395f6081bad4"),
    shown(39, "A node goes offline by what uninitialised struct pages say.", "2c91f8fc6c99"),
    shown(41, "Isolated pages hide on pcplists.", "968318261221"),
    shown(42, "Zonelists are rebuilt while the empty node counts.", "b7812c86c740"),
    shown(43, "A pfn is truncated to 32 bits.", "7cf209ba8a86"),
    shown(45, "Blocks outlive the sections that they stand for.", "4c4b7f9ba948"),
    shown(46, "Onlining does not take mem_hotplug_lock.", "381eab4a6ee8"),
    shown(47, "A block's own memmap is set up without mem_hotplug_lock.", "001002e73712"),
)
VMEMMAP = (
    shown(48, "Unpopulated parts of a huge page are not marked.", "8d400913c231"),
    shown(50, "vmemmap is written before all page tables have it.", "6659d0279980"),
    shown(51, "arm64 frees a block that other subsections use.", "d4234d131b0a"),
    shown(52, "arm64 frees no vmemmap.", "bbd6ec605c0f"),
    shown(53, "Tables are walked from the wrong level.", "without-e6ab9c4d4377"),
    shown(54, "Base pages are given to an altmap that never lent them.", "altmap-for-base-pages"),
    shown(55, "An altmap backs struct pages of another device.", "cf387d9644d8"),
    shown(56, "A failed add is rolled back without its altmap.", "f42ce5f087eb"),
    shown(58, "A block has its altmap before it is registered.", "a2b8d7827f48"),
    shown(60, "Counting a broken page leaks a reference on its block.", "03a2cc1756a0"),
    shown(61, "The altmap is looked up in what is being torn down.", "eb7d78c9e7f6"),
    shown(
        62, "Marks in memblock are searched unbounded and unchecked.",
        "seed004-runs-past-cnt", "seed004-gaps-count-as-unused", "seed004-search-unchecked",
    ),
)  # fmt: skip
DEVICES = (
    shown(65, "Each look-up of a page counts on its pgmap, with wrong ends.", "71389703839e"),
    shown(66, "A map is not killed before its pages are put.", "a95c90f1e2c2"),
    shown(67, "The percpu_ref exits before the last page is put.", "50f44ee7248a"),
    lacking(69, "sanitizers", "A shadow is removed that was never added."),
    shown(71, "Mapping and unmapping count a static key differently.", "46b1ee38b2ba"),
    shown(72, "Device pages are valid long before they are initialised.", "shrink-asks-online"),
    shown(
        73, "Compound pages are deduplicated where there is nothing to share.",
        "87a7ae75d738", "c1a6c536fb08",
    ),
    shown(75, "A compound page types its first pageblock only.", "compound-pageblocks"),
    shown(77, "A probe that failed keeps its resource.", "31e4ca92a7dd"),
    shown(78, "A resource's name lies in a module that is gone.", "60858c00e5f0"),
)  # fmt: skip
OTHERS = (
    shown(80, "A broken page keeps offlining from ever ending.", "b15c87263a69"),
    shown(81, "A broken folio is unmapped unlocked.", "af288a426c3e"),
    shown(83, "Broken pages are counted in a poisoned memmap.", "poison-counted-in-memmap"),
    shown(84, "virtio-mem offlines what it has not taken first.", "f504e15b94eb"),
    shown(88, "A folio without struct pages no longer says so.", "32c877191e02"),
    shown(89, "A failed remap restores the wrong range.", "c7bde43f6daf"),
    shown(90, "hv_balloon onlines pages that are online.", "503b158fc30f"),
)
ROWS: tuple[Row, ...] = (*SPARSE, *WALKING, *ZONES, *VMEMMAP, *DEVICES, *OTHERS)
"""Every row, in order."""
