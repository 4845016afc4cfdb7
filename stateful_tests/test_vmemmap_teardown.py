"""Once everything that was added is gone, vmemmap is what it was at boot."""

from __future__ import annotations

import pytest

from hotplug_model.checker import Checker
from hotplug_model.flags import BlockState, MappingLevel, MemmapOrigin, SectionFlag
from hotplug_model.kernel import Kernel
from hotplug_model.ops.memory_block import OfflineMemoryBlock, VetoMemoryNotifier
from hotplug_model.ops.memory_hotplug import RemoveMemory
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.ops.pages import UnpinPages
from hotplug_model.pfn import PfnRange
from hotplug_model.state.ledger import Law
from stateful_tests.kernels import boot, walk

SOUND = ("tiny", "tiny_arm64", "tiny_powerpc")
"""Where mainline breaks no law of the ledger by itself."""
LAYOUTS = ("collision", "two-nodes", "memmap-on-memory", "classic-sparse")


def take_everything_away(checker: Checker) -> None:
    """Unmap every device; offline and remove every block that was hot-added."""
    kernel = checker.kernel
    checker.apply(VetoMemoryNotifier(False, False))
    checker.apply(UnpinPages(kernel.geometry.all_pfns))
    for pgmap_id in sorted(kernel.pgmaps):
        checker.apply(MemunmapPages(pgmap_id))
    for block_id in sorted(kernel.blocks):
        pfns = kernel.block_pfns(block_id)
        early = kernel.pfns.within(pfns, "section_flags") & SectionFlag.IS_EARLY
        if early.any():
            continue
        if kernel.blocks[block_id].state == BlockState.MEM_ONLINE:
            checker.apply(OfflineMemoryBlock(block_id, False))
        checker.apply(RemoveMemory(pfns))


def hot_added(kernel: Kernel) -> bool:
    """Whether a subsection outside of early sections is populated."""
    x = kernel.extents()
    return bool((x.subsection & ~x.is_early).any())


def mapped(kernel: Kernel) -> list[tuple[PfnRange, int, int]]:
    """What is mapped, how, and from whom; not whether others once used it, too."""
    table = kernel.vmemmap.copy()
    table.write(kernel.geometry.vmemmap_pages, shared=0)
    table.merge()
    rows = table.runs_of(kernel.geometry.vmemmap_pages)
    return [(pages, row["level"], row["origin"]) for pages, row in rows]


@pytest.mark.unmeasured
@pytest.mark.parametrize("geometry", SOUND)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_vmemmap_is_what_it_was_at_boot_once_all_is_gone(geometry: str, layout: str) -> None:
    came_back = 0
    for seed in range(8):
        checker = Checker(boot(layout, geometry))
        before = checker.kernel.vmemmap.live_pages()
        boot_rows = mapped(checker.kernel)
        for _ in walk(checker, seed, 25):
            pass
        take_everything_away(checker)
        kernel = checker.kernel
        if hot_added(kernel):
            continue  # a failed add that mainline does not undo, or a page that is pinned
        came_back += 1
        live, table = kernel.vmemmap.live_pages(), kernel.vmemmap
        assert [live[origin] for origin in MemmapOrigin if origin > MemmapOrigin.BOOT] == [0, 0, 0]
        assert live[MemmapOrigin.BOOT] <= before[MemmapOrigin.BOOT]
        assert not table.column("page_table").any()
        if live == before:
            assert mapped(kernel) == boot_rows
        assert not any(entry.law == Law.FREED_TWICE for entry in kernel.ledger.breaches)
    assert came_back > 3


def test_a_page_that_stays_behind_would_be_seen() -> None:
    kernel = boot("collision")
    kernel.vmemmap.write(kernel.geometry.memmap_of(kernel.geometry.section_pfns(2)),
                         level=MappingLevel.PMD, origin=MemmapOrigin.BUDDY)  # fmt: skip
    assert kernel.vmemmap.live_pages()[MemmapOrigin.BUDDY] > 0
