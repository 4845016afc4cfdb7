"""MEMBLOCK_UNUSED_VMEMMAP as it was posted, corrected, with each fault alone, and without.

On top of each other nothing could be told apart, so every fault is alone: the corrected
proposal with that one switch of UnusedVmemmap thrown.

Source: "[PATCH v2 3/5] mm: memory_hotplug: memblock to track partially removed vmemmap
mem", linux-mm, 23 November 2017, and Robin Murphy's question of 27 November; the callers
are in "[PATCH v2 5/5] mm: memory-hotplug: Add memory hot remove support for arm64".
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import proposing
from hotplug_model.rules import KernelRules
from hotplug_model.state.memblock import (
    POSTED_UNUSED_VMEMMAP,
    UnusedVmemmap,
    UnusedVmemmapQuery,
)

LEAK = ("unused_vmemmap_is_freed",)
IN_USE = ("valid_pfns_have_a_struct_page", "vmemmap_outlives_its_pfns")


def sharing(rules: KernelRules, how: UnusedVmemmap) -> KernelRules:
    """arm64 maps parts of sections by blocks, which they share as *how* says.

    That it does so is how it was until commit d4234d131b0a.
    """
    return replace(rules, unused_vmemmap=how, arm64_maps_parts_by_base_pages=False)


@proposing("seed004", "the series as posted: marks in memblock", breaks=LEAK, geometry="tiny_arm64")
def posted(rules: KernelRules) -> KernelRules:
    """What nobody populated is never marked, so a shared mapping is never all unused."""
    return sharing(rules, POSTED_UNUSED_VMEMMAP)


@proposing("seed004-corrected", "marks in memblock, every fault corrected", geometry="tiny_arm64")
def corrected(rules: KernelRules) -> KernelRules:
    """Marks the rest of a new mapping, unmarks what is used, and looks at every answer."""
    return sharing(rules, UnusedVmemmap())


@proposing("seed004-section-map", "the section map instead of marks", geometry="tiny_arm64")
def section_map(rules: KernelRules) -> KernelRules:
    """A mapping goes when none of the pfns that it describes is valid, as on powerpc."""
    return sharing(rules, UnusedVmemmap(decided_by="section_map"))


@proposing(
    "seed004-unpopulated-unmarked", "only what is removed is marked",
    breaks=LEAK, geometry="tiny_arm64",
)  # fmt: skip
def unpopulated_unmarked(rules: KernelRules) -> KernelRules:
    """What a new mapping has room for, but nobody populates, is never marked."""
    return sharing(rules, UnusedVmemmap(marks_unpopulated=False))


@proposing(
    "seed004-reuse-keeps-marks", "a part that comes into use stays marked",
    breaks=IN_USE, geometry="tiny_arm64",
)  # fmt: skip
def reuse_keeps_marks(rules: KernelRules) -> KernelRules:
    """Populating a part of a mapping that is there does not clear its mark."""
    return sharing(rules, UnusedVmemmap(clears_reused=False))


@proposing(
    "seed004-free-keeps-marks", "what is freed stays marked",
    breaks=IN_USE, geometry="tiny_arm64",
)  # fmt: skip
def free_keeps_marks(rules: KernelRules) -> KernelRules:
    """Freeing a mapping clears no marks: the memory's next user inherits them."""
    return sharing(rules, UnusedVmemmap(clears_freed=False))


@proposing(
    "seed004-clears-whole-page", "a base page is unmarked as a whole",
    breaks=LEAK, geometry="tiny_arm64_64k",
)  # fmt: skip
def clears_whole_page(rules: KernelRules) -> KernelRules:
    """Populating a part of a base page takes away the marks of its other parts."""
    return sharing(rules, UnusedVmemmap(clears_only_the_part=False))


@proposing(
    "seed004-shares-an-altmap", "what is shared may be an altmap's memory",
    breaks=("altmaps_account_for_what_they_gave", *LEAK), geometry="tiny_arm64",
)  # fmt: skip
def shares_an_altmap(rules: KernelRules) -> KernelRules:
    """Device memory, which memblock does not know and cannot mark, backs what is shared."""
    return sharing(rules, UnusedVmemmap(shares_ram_only=False))


@proposing(
    "seed004-memblock-discarded", "memblock is thrown away after boot",
    breaks=LEAK, geometry="tiny_arm64",
)  # fmt: skip
def memblock_discarded(rules: KernelRules) -> KernelRules:
    """Nothing can be marked, as with ARCH_DISCARD_MEMBLOCK: nothing shared is freed."""
    return sharing(rules, UnusedVmemmap(memblock_knows="nothing"))


@proposing(
    "seed004-search-unchecked", "-1 is an index, where memblock knows nothing",
    breaks=("lookups_stay_in_bounds", *LEAK), geometry="tiny_arm64",
)  # fmt: skip
def search_unchecked(rules: KernelRules) -> KernelRules:
    """That memblock_search() found nothing is not noticed; needs memory it does not know."""
    helpers = UnusedVmemmapQuery(checks_search=False)
    return sharing(rules, UnusedVmemmap(memblock_knows="nothing", helpers=helpers))


@proposing(
    "seed004-gaps-count-as-unused", "gaps count as unused, where memblock has gaps",
    breaks=IN_USE, geometry="tiny_arm64",
)  # fmt: skip
def gaps_count_as_unused(rules: KernelRules) -> KernelRules:
    """That the regions cover the range is not verified; needs memory with gaps in it."""
    helpers = UnusedVmemmapQuery(checks_coverage=False)
    return sharing(rules, UnusedVmemmap(memblock_knows="gaps", helpers=helpers))


@proposing(
    "seed004-runs-past-cnt", "the walk does not end with the last region",
    breaks=LEAK, geometry="tiny_arm64",
)  # fmt: skip
def runs_past_cnt(rules: KernelRules) -> KernelRules:
    """Behind the last region the slots of the array are read, zeroed or stale."""
    return sharing(rules, UnusedVmemmap(helpers=UnusedVmemmapQuery(stops_at_cnt=False)))


@proposing(
    "seed004-errors-dropped", "nobody looks at what the helpers return",
    breaks=IN_USE, geometry="tiny_arm64", faults=True,
)  # fmt: skip
def errors_dropped(rules: KernelRules) -> KernelRules:
    """What could not be unmarked is used all the same; what could not be marked leaks."""
    return sharing(rules, UnusedVmemmap(helpers=UnusedVmemmapQuery(checks_errors=False)))
