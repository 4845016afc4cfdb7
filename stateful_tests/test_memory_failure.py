"""Memory that breaks: what is marked, what is counted, and that it stays out of use."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker
from hotplug_model.errors import EHWPOISON, KernelRefusal, UserError, errname
from hotplug_model.flags import MHP_MEMMAP_ON_MEMORY, BlockState, PageFlag
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.ops.memory_failure import HardOfflinePage
from hotplug_model.ops.memory_hotplug import OfflineAndRemoveMemory
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.ops.pages import PinPages, UnpinPages
from hotplug_model.ops.virtio_mem import VirtioMemProbe, VirtioMemRequest
from hotplug_model.pfn import PfnRange
from hotplug_model.state.virtio_mem import VirtioMem
from hotplug_model.walkers import WALKERS
from stateful_tests.kernels import (
    HOLE,
    A,
    B,
    C,
    D,
    add,
    boot,
    busy,
    device,
    do,
    offline,
    online,
    pages,
    remove,
)

BREAK = HardOfflinePage(C.start_pfn)
IN_A_FILE = HardOfflinePage(C.start_pfn, mapped=True)
FORGETFUL = replace(MAINLINE, online_rejects_broken_pages=False)


def marked(kernel: Kernel, pfn: int) -> bool:
    return bool(kernel.pfns.at(pfn, "page_flags") & PageFlag.PG_hwpoison)


def ready(online_type: str = "online_kernel") -> Kernel:
    """C is online."""
    kernel = boot()
    assert do(kernel, add(C), online(2, online_type)) is None
    return kernel


def test_a_broken_page_is_marked_held_and_counted() -> None:
    kernel = ready()
    managed = kernel.zone(0, kernel.blocks[2].zone).managed_pages  # type: ignore[arg-type]
    assert do(kernel, BREAK) is None
    assert (marked(kernel, 16), kernel.pfns.at(16, "refcount")) == (True, 1)
    assert (marked(kernel, 17), kernel.pfns.at(17, "refcount")) == (False, 0)
    assert kernel.blocks[2].broken == (0,)
    assert kernel.zone(0, kernel.blocks[2].zone).managed_pages == managed  # type: ignore[arg-type]


def test_a_page_breaks_once() -> None:
    kernel = ready()
    assert do(kernel, HardOfflinePage(19), BREAK) is None
    assert kernel.blocks[2].broken == (0, 3)
    before = kernel.fingerprint()
    assert do(kernel, BREAK) == EHWPOISON
    assert kernel.fingerprint() == before


@pytest.mark.parametrize("pfn", [16, 24, 12])
def test_what_no_walker_finds_cannot_break(pfn: int) -> None:
    kernel = boot("stale")
    assert do(kernel, add(C)) is None
    assert do(kernel, HardOfflinePage(pfn)) == errno.ENXIO


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        ("generic", None), ("fs_dax", None), ("pci_p2pdma", None), ("private", errno.ENXIO),
        ("coherent", errno.ENXIO),
    ],
)  # fmt: skip
def test_device_memory_breaks_where_no_driver_must_be_asked(kind: str, refused: int | None) -> None:
    kernel = boot()
    assert do(kernel, device(C, kind=kind), IN_A_FILE) == refused
    assert marked(kernel, 16) == (refused is None)
    assert kernel.pfns.at(16, "refcount") == kernel.pfns.at(17, "refcount")
    assert do(kernel, MemunmapPages(0)) is None


def test_the_memmap_of_a_device_cannot_break() -> None:
    kernel = boot()
    mapped = HardOfflinePage(16, mapped=True)
    assert do(kernel, device(pages(16, 32), kind="fs_dax", altmap=(0, 8)), mapped) == errno.ENXIO
    assert do(kernel, HardOfflinePage(24, mapped=True)) is None


@pytest.mark.parametrize("kind", ["generic", "private"])
def test_a_device_page_that_no_file_has_is_busy(kind: str) -> None:
    kernel = boot()
    assert do(kernel, device(C, kind=kind)) is None
    before = kernel.fingerprint()
    assert do(kernel, BREAK) == errno.EBUSY
    assert kernel.fingerprint() == before


def test_of_a_compound_page_the_first_is_marked_and_breaks_as_often_as_it_is_said() -> None:
    kernel = boot()
    assert do(kernel, MemremapPages(0, (C,), "generic", 0, (), vmemmap_shift=2)) is None
    assert do(kernel, HardOfflinePage(23, mapped=True), HardOfflinePage(21, mapped=True)) is None
    assert [pfn for pfn in range(16, 24) if marked(kernel, pfn)] == [20]
    assert do(kernel, MemunmapPages(0), device(C)) is None
    assert not marked(kernel, 20)


@pytest.mark.parametrize(("changes", "counted"), [((), (0,)), (("1f90a3477df3",), (0, 4))])
def test_ram_that_shares_its_section_is_told_from_the_device(
    changes: tuple[str, ...], counted: tuple[int, ...]
) -> None:
    """Before 1f90a3477df3 the block of the RAM counts a page of the device."""
    kernel = boot(rules=KernelVariant.named(None, changes).rules())
    assert do(kernel, device(HOLE), HardOfflinePage(8), HardOfflinePage(12, mapped=True)) is None
    assert kernel.blocks[1].broken == counted
    assert marked(kernel, 8)
    assert marked(kernel, 12)


def test_a_broken_page_does_not_keep_its_block_online() -> None:
    for online_type in ("online_kernel", "online_movable"):
        kernel = ready(online_type)
        assert do(kernel, BREAK, offline(2)) is None
        assert kernel.blocks[2].state == BlockState.MEM_OFFLINE


def test_whoever_holds_a_broken_page_does_not_keep_it_online_and_lets_go_of_it() -> None:
    kernel = ready("online_movable")
    assert do(kernel, PinPages(pages(16, 18)), BREAK) is None
    assert do(kernel, offline(2)) == errno.EINTR
    assert do(kernel, UnpinPages(pages(17, 18)), offline(2)) is None
    kernel = ready()
    assert do(kernel, PinPages(pages(16, 17)), BREAK, UnpinPages(pages(16, 17))) is None
    assert kernel.pfns.at(16, "refcount") == 1
    assert do(kernel, UnpinPages(pages(16, 17))) == errno.EINVAL


def test_a_block_with_a_broken_page_stays_offline_until_its_memory_is_replaced() -> None:
    kernel = ready()
    assert do(kernel, BREAK, offline(2)) is None
    assert do(kernel, online(2)) == EHWPOISON
    assert kernel.blocks[2].state == BlockState.MEM_OFFLINE
    assert do(kernel, remove(C), add(C), online(2)) is None
    assert not marked(kernel, 16)


def test_without_5033091de814_the_page_comes_back_unmarked() -> None:
    kernel = boot(rules=KernelVariant.named(None, ("5033091de814",)).rules())
    assert kernel.rules == FORGETFUL
    assert do(kernel, add(C), online(2), BREAK, offline(2)) is None
    found = Checker(kernel).apply(online(2)).violations
    assert {(each.invariant, each.milestone) for each in found} == {
        ("broken_pages_do_not_come_back", "generic_online_page")
    }
    assert found[0].pfns == (pages(16, 17),)


@pytest.mark.parametrize(
    ("changes", "left"), [((), 0), (("03a2cc1756a0",), 2), (("03a2cc1756a0", "5033091de814"), 0)]
)
def test_each_page_that_breaks_cost_a_reference_from_6_2_to_7_0(
    changes: tuple[str, ...], left: int
) -> None:
    kernel = boot(rules=KernelVariant.named(None, changes).rules())
    assert do(kernel, add(C), online(2), BREAK, HardOfflinePage(19)) is None
    assert kernel.blocks[2].references == left
    found = {violation.invariant for violation in Checker(kernel).boot()}
    assert found == ({"memory_block_devices_are_let_go"} if left else set())
    assert do(kernel, offline(2), remove(C), add(C)) is None
    assert kernel.blocks[2].references == 0


@pytest.mark.parametrize(
    ("changes", "poisoning", "counted"),
    [
        ((), True, 0), (("poison-counted-in-memmap",), True, 1 - 8),
        (("poison-counted-in-memmap",), False, 0),
        (("poison-counted-in-memmap", "d33695b16a9f"), True, 0),
    ],
)  # fmt: skip
def test_memory_that_is_removed_takes_what_broke_of_it_off_the_count(
    changes: tuple[str, ...], poisoning: bool, counted: int
) -> None:
    """Before v6.2 by what its struct pages say, which is all if they are overwritten."""
    layout = replace(LAYOUTS["collision"](GEOMETRIES["tiny"]), page_poisoning=poisoning)
    rules = KernelVariant.named(None, changes).rules()
    kernel = Kernel.boot(GEOMETRIES["tiny"], rules, layout)
    assert do(kernel, add(C), online(2), BREAK, offline(2)) is None
    assert kernel.num_poisoned_pages == kernel.snapshot().num_poisoned_pages == 1
    found = {violation.invariant for violation in Checker(kernel).apply(remove(C)).violations}
    assert kernel.num_poisoned_pages == counted
    assert found == ({"num_poisoned_pages_add_up"} if counted else set())


def test_while_nothing_is_broken_no_memmap_is_asked() -> None:
    kernel = boot(rules=KernelVariant.named(None, ("poison-counted-in-memmap",)).rules())
    assert do(kernel, add(C), remove(C), device(C), MemunmapPages(0)) is None
    assert kernel.num_poisoned_pages == 0
    assert do(kernel, HardOfflinePage(0), device(C), MemunmapPages(0)) is None
    assert kernel.num_poisoned_pages == 1


def test_a_page_that_nobody_was_given_is_marked_only() -> None:
    for of, pfn, ops in (
        ("boot-reserved", 15, ()),
        ("memmap-on-memory", 16, (add(C, mhp_flags=MHP_MEMMAP_ON_MEMORY), online(2))),
    ):
        kernel = boot(of)
        assert do(kernel, *ops) is None
        refs = kernel.pfns.at(pfn, "refcount")
        assert do(kernel, HardOfflinePage(pfn)) is None
        assert (marked(kernel, pfn), kernel.pfns.at(pfn, "refcount")) == (True, refs)


def test_what_broke_while_it_was_unplugged_is_marked_when_it_is_plugged() -> None:
    kernel = boot()
    part = kernel.geometry.pageblock_nr_pages
    lend = (VirtioMemProbe(C, 0, part, force_bbm=False), VirtioMemRequest(part), online(2))
    assert do(kernel, *lend, HardOfflinePage(18), VirtioMemRequest(2 * part)) is None
    assert (marked(kernel, 18), marked(kernel, 19)) == (True, False)
    managed = PageFlag.MANAGED
    assert kernel.pfns.at(18, "page_flags") & managed == kernel.pfns.at(19, "page_flags") == managed
    assert not Checker(kernel).boot()


def test_virtio_mem_does_not_unplug_a_broken_page() -> None:
    kernel = boot()
    part = kernel.geometry.pageblock_nr_pages
    lend = (VirtioMemProbe(C, 0, part, force_bbm=False), VirtioMemRequest(2 * part), online(2))
    assert do(kernel, *lend, HardOfflinePage(16), HardOfflinePage(18), VirtioMemRequest(0)) is None
    assert isinstance(kernel.lender, VirtioMem)
    assert kernel.lender.plugged_size == 2 * part


def test_a_rollback_leaves_a_block_with_a_broken_page_offline() -> None:
    kernel = ready("online_movable")
    assert do(kernel, add(D), online(3, "online_movable"), BREAK, PinPages(pages(24, 25))) is None
    both = PfnRange(C.start_pfn, D.end_pfn)
    outcome = Checker(kernel).apply(OfflineAndRemoveMemory(both, unmovable=False))
    assert outcome.refusal is not None
    assert outcome.violations == []
    assert {each.defect for each in outcome.known} == {"a-rollback-may-be-vetoed"}
    assert kernel.blocks[2].left_offline


def test_kcore_reads_no_broken_page() -> None:
    kernel = ready()
    assert do(kernel, BREAK) is None
    x = kernel.extents()
    copies = WALKERS["read_kcore_iter"].copies
    assert copies is not None
    assert not any(pages(16, 17).overlaps(pfns) for pfns in x.where(copies(x)))
    assert any(pages(17, 18).overlaps(pfns) for pfns in x.where(copies(x)))


def test_drawing_stops_where_enough_is_broken() -> None:
    kernel = busy()
    assert HardOfflinePage.enabled(kernel)
    assert do(kernel, HardOfflinePage(A.start_pfn), HardOfflinePage(B.start_pfn)) is None
    assert not HardOfflinePage.enabled(kernel)


def test_the_errno_has_its_name() -> None:
    assert (errname(EHWPOISON), errname(errno.EBUSY)) == ("EHWPOISON", "EBUSY")
    assert str(KernelRefusal(EHWPOISON)) == "-EHWPOISON"


def test_a_page_frame_number_is_not_negative() -> None:
    with pytest.raises(UserError, match="page frame number"):
        HardOfflinePage(-1)


def test_a_page_of_a_block_without_a_device_breaks_uncounted() -> None:
    kernel = busy()
    del kernel.blocks[3]
    assert do(kernel, HardOfflinePage(D.start_pfn)) is None
    assert marked(kernel, D.start_pfn)
    assert do(kernel, HardOfflinePage(HOLE.start_pfn, mapped=True)) is None


def test_before_b15c87263a69_offlining_waited_for_a_broken_page() -> None:
    rules = KernelVariant.named(None, ("b15c87263a69",)).rules()
    for online_type, err in (("online_movable", errno.EINTR), ("online_kernel", errno.EINTR)):
        kernel = boot(rules=rules)
        assert do(kernel, add(C), online(2, online_type), BREAK) is None
        outcome = Checker(kernel).apply(offline(2))
        assert outcome.refusal is not None
        assert outcome.refusal.errno == err
        (found,) = outcome.violations
        assert found.invariant == "offlining_waits_for_nobody_but_holders"
        assert found.pfns == (pages(16, 17),)


def test_whoever_waits_for_a_page_that_is_held_is_right() -> None:
    for changes in ((), ("b15c87263a69",)):
        kernel = boot(rules=KernelVariant.named(None, changes).rules())
        before = (add(C), online(2, "online_movable"), BREAK, PinPages(pages(20, 21)))
        assert do(kernel, *before) is None
        outcome = Checker(kernel).apply(offline(2))
        assert (str(outcome.refusal), outcome.violations) == ("-EINTR", [])


def test_a_pfn_that_no_section_can_have_is_unknown() -> None:
    end = GEOMETRIES["tiny"].all_pfns.end_pfn
    for last in add(D), device(D):
        kernel = boot("auto-online")
        assert do(kernel, last) is None
        assert do(kernel, HardOfflinePage(end + 8)) == errno.ENXIO
        assert kernel.num_poisoned_pages == 0
        assert do(kernel, device(pages(end, end + 8), pgmap_id=1)) == errno.EINVAL


def test_what_an_altmap_keeps_for_itself_is_no_page_of_the_device() -> None:
    kernel = boot("stale")
    first = device(HOLE), MemunmapPages(0), device(HOLE, altmap=(1, 1))
    assert do(kernel, *first) is None
    assert do(kernel, HardOfflinePage(HOLE.start_pfn, mapped=True)) == errno.ENXIO
    assert not marked(kernel, HOLE.start_pfn)


def test_a_compound_page_begins_where_its_range_does() -> None:
    kernel = boot()
    mapped = MemremapPages(0, (pages(18, 26),), "generic", 0, (), vmemmap_shift=2)
    assert do(kernel, mapped, HardOfflinePage(19, mapped=True)) is None
    assert marked(kernel, 18)
