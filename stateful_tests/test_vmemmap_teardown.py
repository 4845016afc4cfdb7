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

SOUND = ("tiny", "tiny_arm64", "tiny_powerpc", "tiny_s390", "tiny_56", "tiny_arm64_64k")
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


def differences(kernel: Kernel, booted: Kernel) -> list[str]:
    """What of vmemmap is not as it was when *kernel* was *booted*. Boot memory may be gone: early
    sections are freed when nothing of them is left."""
    live, before = kernel.vmemmap.live_pages(), booted.vmemmap.live_pages()
    found = [
        f"{live[origin]} pages of {origin.name}"
        for origin in MemmapOrigin
        if origin > MemmapOrigin.BOOT and live[origin]
    ]
    if live[MemmapOrigin.BOOT] > before[MemmapOrigin.BOOT]:
        found.append("more boot memory")
    if kernel.vmemmap.column("page_table").any() and not booted.vmemmap.column("page_table").any():
        found.append("page tables")
    if live == before and mapped(kernel) != mapped(booted):
        found.append("another mapping")
    return found


@pytest.mark.unmeasured
@pytest.mark.parametrize("geometry", SOUND)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_vmemmap_is_what_it_was_at_boot_once_all_is_gone(geometry: str, layout: str) -> None:
    came_back = 0
    for seed in range(6):
        checker = Checker(boot(layout, geometry))
        for _ in walk(checker, seed, 25):
            pass
        take_everything_away(checker)
        kernel = checker.kernel
        if hot_added(kernel):
            continue  # a failed add that mainline does not undo, or a page that is pinned
        came_back += 1
        assert differences(kernel, boot(layout, geometry)) == []
        assert not any(entry.law == Law.FREED_TWICE for entry in kernel.ledger.breaches)
    assert came_back > 1


C = PfnRange(16, 24)
LEFT: dict[str, dict[str, int]] = {
    "1 pages of BUDDY": {"level": MappingLevel.PTE, "origin": MemmapOrigin.BUDDY},
    "1 pages of ALTMAP": {"level": MappingLevel.PTE, "origin": MemmapOrigin.ALTMAP},
    "more boot memory": {"level": MappingLevel.PTE, "origin": MemmapOrigin.BOOT},
    "page tables": {"page_table": 1},
}


@pytest.mark.parametrize("what", LEFT)
def test_a_page_that_stays_behind_is_seen(what: str) -> None:
    kernel, booted = boot("collision"), boot("collision")
    assert differences(kernel, booted) == []
    page = kernel.geometry.memmap_of(C)
    kernel.vmemmap.write(PfnRange(page.start_pfn, page.start_pfn + 1), **LEFT[what])
    assert what in differences(kernel, booted)


def test_a_huge_page_of_boot_that_was_split_is_seen() -> None:
    kernel, booted = boot("collision"), boot("collision")
    kernel.vmemmap.write(kernel.geometry.memmap_of(PfnRange(0, 8)), level=MappingLevel.PTE)
    assert differences(kernel, booted) == ["another mapping"]
