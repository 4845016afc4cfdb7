"""HugeTLB pages of the pool, and most of their vmemmap given back."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from hotplug_model.boot import find_layout
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker
from hotplug_model.flags import MHP_MEMMAP_ON_MEMORY, MappingLevel, MemmapOrigin, PageFlag
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.mm.hugetlb_vmemmap import is_optimized
from hotplug_model.ops.hugetlb import AllocPoolHugeFolio, UpdateAndFreeHugetlbFolio
from hotplug_model.ops.memory_failure import HardOfflinePage
from hotplug_model.ops.memory_hotplug import OfflineAndRemoveMemory
from hotplug_model.ops.op import Op
from hotplug_model.ops.pages import PinPages
from hotplug_model.pfn import PfnRange
from stateful_tests.kernels import A, B, C, D, add, boot, column, do, offline, pages, walk

SMALL = pages(8, 12)
"""Two pages of vmemmap, 4 and 5."""
GIGANTIC = pages(16, 32)
"""C and D; four pages of vmemmap in each of two huge mappings."""


def alloc(pfns: PfnRange, fail_at: str | None = None) -> Op:
    return AllocPoolHugeFolio(pfns, fail_at=fail_at)


def free(pfns: PfnRange, fail_at: str | None = None) -> Op:
    return UpdateAndFreeHugetlbFolio(pfns, fail_at=fail_at)


def asked(kernel: Kernel, op: Op) -> int | None:
    """The errno of *op*, whose allocation fails; nothing may break."""
    outcome = Checker(kernel).apply(op)
    assert outcome.violations == []
    return outcome.refusal.errno if outcome.refusal else None


def live(kernel: Kernel) -> int:
    return sum(kernel.vmemmap.live_pages().values())


def test_a_huge_page_gives_all_but_its_first_page_of_vmemmap_back() -> None:
    kernel = boot("hugetlb")
    before = live(kernel)
    assert asked(kernel, alloc(SMALL)) is None
    assert is_optimized(kernel, SMALL)
    assert live(kernel) == before - 1
    assert kernel.vmemmap.at(5, "tail") == 4
    assert column(kernel, "page_flags", SMALL) == {PageFlag.MANAGED | PageFlag.HUGETLB}


def test_freed_it_has_a_vmemmap_of_its_own_again() -> None:
    kernel = boot("hugetlb")
    before = live(kernel)
    assert do(kernel, alloc(SMALL)) is None
    assert asked(kernel, free(SMALL)) is None
    assert (live(kernel), kernel.hugetlb) == (before, ())
    assert kernel.vmemmap.at(5, "origin") == MemmapOrigin.BUDDY
    assert column(kernel, "page_flags", SMALL) == {PageFlag.MANAGED}


def test_without_memory_for_its_vmemmap_it_stays() -> None:
    kernel = boot("hugetlb")
    assert do(kernel, alloc(SMALL)) is None
    assert asked(kernel, free(SMALL, "vmemmap_page")) == errno.ENOMEM
    assert kernel.hugetlb == (SMALL,)
    assert is_optimized(kernel, SMALL)


def test_a_gigantic_page_splits_two_huge_mappings() -> None:
    kernel = boot("hugetlb")
    assert do(kernel, add(C), add(D)) is None
    before = live(kernel)
    assert asked(kernel, alloc(GIGANTIC)) is None
    assert live(kernel) == before - 7
    assert {kernel.vmemmap.at(page, "level") for page in range(8, 16)} == {MappingLevel.PTE}
    assert asked(kernel, free(GIGANTIC)) is None
    assert live(kernel) == before


@pytest.mark.parametrize("fail_at", ["page_table", "page_table:1"])
def test_without_page_tables_it_keeps_its_vmemmap(fail_at: str) -> None:
    kernel = boot("hugetlb")
    assert do(kernel, add(C), add(D)) is None
    before = live(kernel)
    assert asked(kernel, alloc(GIGANTIC, fail_at)) is None
    assert kernel.hugetlb == (GIGANTIC,)
    assert not is_optimized(kernel, GIGANTIC)
    assert live(kernel) == before
    assert asked(kernel, free(GIGANTIC)) is None


@pytest.mark.parametrize(("fail_at", "broken"), [("page_table", False), ("page_table:1", True)])
def test_before_7_1_what_was_remapped_was_restored_with_the_head(
    fail_at: str, broken: bool
) -> None:
    kernel = boot("hugetlb", rules=KernelVariant.named(None, ("c7bde43f6daf",)).rules())
    assert do(kernel, add(C), add(D)) is None
    found = Checker(kernel).apply(alloc(GIGANTIC, fail_at)).violations
    assert bool(found) == broken


def test_going_offline_dissolves_it_wherever_it_begins() -> None:
    kernel = boot("hugetlb")
    assert do(kernel, add(C), add(D), alloc(GIGANTIC)) is None
    assert asked(kernel, offline(3)) is None
    assert kernel.hugetlb == ()
    assert asked(kernel, OfflineAndRemoveMemory(C, unmovable=False)) is None


def test_what_cannot_be_dissolved_does_not_go_offline() -> None:
    kernel = boot("hugetlb")
    assert do(kernel, alloc(SMALL)) is None
    assert asked(kernel, replace(offline(1), fail_at="vmemmap_page")) == errno.ENOMEM
    assert kernel.hugetlb == (SMALL,)


@pytest.mark.parametrize(
    ("pfns", "err"),
    [
        (pages(9, 13), errno.EINVAL), (pages(8, 10), errno.EINVAL), (pages(0, 4), errno.ENOMEM),
        (pages(12, 16), errno.ENOMEM), (pages(16, 20), errno.ENOMEM),
    ],
)  # fmt: skip
def test_what_is_no_free_page_of_that_size_is_refused(pfns: PfnRange, err: int) -> None:
    kernel = boot("hugetlb")
    assert do(kernel, PinPages(pages(12, 13))) is None
    assert asked(kernel, alloc(pfns)) == err


def test_a_part_of_it_is_in_use() -> None:
    kernel = boot("hugetlb")
    assert do(kernel, alloc(SMALL)) is None
    assert asked(kernel, alloc(SMALL)) == errno.ENOMEM
    assert asked(kernel, HardOfflinePage(9)) == errno.EBUSY
    assert asked(kernel, free(pages(12, 16))) == errno.EINVAL


def test_memmap_that_lies_in_its_own_block_is_kept() -> None:
    hosted = replace(find_layout("hugetlb")(GEOMETRIES["tiny"]), memmap_on_memory=True)
    kernel = boot(hosted)
    assert do(kernel, add(C, mhp_flags=MHP_MEMMAP_ON_MEMORY), alloc(pages(20, 24))) is None
    assert not is_optimized(kernel, pages(20, 24))


def test_struct_pages_of_56_bytes_keep_theirs() -> None:
    geometry = replace(GEOMETRIES["tiny"], struct_page_bytes=56)
    kernel = Kernel.boot(geometry, boot().rules, find_layout("hugetlb")(geometry))
    assert do(kernel, alloc(SMALL)) is None
    assert not is_optimized(kernel, SMALL)


@pytest.mark.unmeasured
def test_random_walks_with_huge_pages_hold_and_come_to_all_of_it() -> None:
    seen: set[str] = set()
    for seed in range(6):
        for op, outcome in walk(Checker(boot("hugetlb")), seed, 30):
            assert outcome.violations == []
            seen.add(op.op_name())
    assert {"alloc_pool_huge_folio", "update_and_free_hugetlb_folio"} <= seen


def test_without_the_parameter_nobody_makes_one() -> None:
    assert not AllocPoolHugeFolio.enabled(boot())
    assert AllocPoolHugeFolio.enabled(boot("hugetlb"))
    assert column(boot(), "page_flags", A) == column(boot("hugetlb"), "page_flags", A)
    assert not UpdateAndFreeHugetlbFolio.enabled(boot("hugetlb"))
    assert column(boot("hugetlb"), "page_flags", B) == {PageFlag.MANAGED}
