"""The balloon: what it takes is nobody's, and its block stays online."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker
from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import PageFlag, ZoneType
from hotplug_model.invariants.refusals import refusals_leave_the_machine_alone
from hotplug_model.kernel import Kernel
from hotplug_model.mm import xen_balloon
from hotplug_model.ops.memory_failure import HardOfflinePage
from hotplug_model.ops.memory_hotplug import OfflineAndRemoveMemory
from hotplug_model.ops.pages import PinPages
from hotplug_model.ops.user_pages import PinUserPages
from hotplug_model.ops.virtio_mem import VirtioMemProbe, VirtioMemRequest
from hotplug_model.ops.xen_balloon import (
    DecreaseReservation,
    IncreaseReservation,
    idle_and_unmovable,
)
from hotplug_model.page_state import PageState, page_states
from hotplug_model.walkers.vmcore import read_from_oldmem
from stateful_tests.kernels import C, add, boot, do, offline, online, pages, remove

PAGE = pages(16, 17)
INFLATE, DEFLATE = DecreaseReservation(PAGE), IncreaseReservation(PAGE)


def ready(online_type: str = "online_kernel") -> Kernel:
    """C is online."""
    kernel = boot()
    assert do(kernel, add(C), online(2, online_type)) is None
    return kernel


def managed(kernel: Kernel) -> int:
    return int(kernel.zone(0, ZoneType.ZONE_NORMAL).managed_pages)


def test_the_balloon_takes_a_page_from_the_allocator_and_gives_it_back() -> None:
    kernel = ready()
    before, state = managed(kernel), kernel.fingerprint()
    assert do(kernel, INFLATE) is None
    assert managed(kernel) == before - 1
    assert kernel.pfns.at(16, "page_flags") == PageFlag.PG_offline
    assert kernel.pfns.at(16, "refcount") == 1
    assert xen_balloon.ballooned_pages(kernel) == [PAGE]
    assert do(kernel, INFLATE) == errno.EBUSY
    assert do(kernel, DEFLATE) is None
    assert kernel.fingerprint() == state
    assert do(kernel, DEFLATE) == errno.EINVAL


def test_each_page_of_the_balloon_is_counted_in_its_own_zone() -> None:
    kernel = boot()
    state, both = kernel.fingerprint(), pages(1, 3)
    assert kernel.pfns.at(1, "zone") != kernel.pfns.at(2, "zone")
    assert do(kernel, DecreaseReservation(both)) is None
    assert Checker(kernel).boot() == []
    assert do(kernel, IncreaseReservation(both)) is None
    assert kernel.fingerprint() == state


def test_a_ballooned_page_keeps_its_block_online() -> None:
    kernel = ready("online_kernel")
    assert do(kernel, INFLATE) is None
    assert do(kernel, offline(2)) == errno.EBUSY
    assert do(kernel, DEFLATE, offline(2)) is None


def test_a_balloon_gets_no_movable_memory() -> None:
    kernel = ready("online_movable")
    assert do(kernel, INFLATE) == errno.EBUSY
    assert do(kernel, offline(2)) is None
    x = ready("online_movable").extents()
    movable = x.where(x.zone == ZoneType.ZONE_MOVABLE)
    assert movable
    assert not any(a.overlaps(b) for a in movable for b in idle_and_unmovable(x.kernel))


@pytest.mark.parametrize("milestone", ["start_isolate_page_range", "offline_mem_sections"])
def test_a_balloon_gets_nothing_that_goes_offline(milestone: str) -> None:
    kernel = ready()
    for at in offline(2).steps(kernel):
        if at == milestone:
            assert do(kernel, INFLATE) == errno.EBUSY


def test_a_balloon_gets_nothing_that_goes_online() -> None:
    kernel = boot()
    assert do(kernel, add(C)) is None
    seen = []
    for at in online(2).steps(kernel):
        seen.append(at)
        if at in ("generic_online_page", "online_mem_sections"):
            assert do(kernel, INFLATE) == errno.EBUSY
    assert "online_mem_sections" in seen


def test_what_hyper_v_gives_back_stays_with_whom_has_a_reference() -> None:
    page = pages(8, 9)
    pin = PinUserPages("kvm", page, pfnmap=True)
    rules = KernelVariant.named("6.12", ()).rules()
    for hypervisor, refs, breaches in (("hyper-v", 1, 0), ("xen", 0, 1)):
        kernel = boot(hypervisor, rules=rules)
        assert do(kernel, DecreaseReservation(page), pin, IncreaseReservation(page)) is None
        assert kernel.pfns.at(8, "refcount") == refs
        assert len(kernel.ledger.breaches) == breaches


def test_a_ballooned_page_is_fake_offline_and_breaks_nothing() -> None:
    kernel = ready()
    assert do(kernel, INFLATE) is None
    x = kernel.extents()
    assert page_states(x)[x.row_of(PAGE.start_pfn)] == PageState.FAKE_OFFLINE  # type: ignore[arg-type]
    assert Checker(kernel).boot() == []


def test_a_page_that_broke_in_the_balloon_stays_marked_when_it_comes_back() -> None:
    kernel = ready()
    assert do(kernel, INFLATE, HardOfflinePage(16)) is None
    assert do(kernel, DEFLATE) is None
    assert kernel.pfns.at(16, "page_flags") == PageFlag.PG_hwpoison | PageFlag.MANAGED
    assert Checker(kernel).boot() == []


def test_what_virtio_mem_keeps_is_not_in_the_balloon() -> None:
    kernel = boot()
    part = kernel.geometry.pageblock_nr_pages
    lend = (VirtioMemProbe(C, 0, part, force_bbm=False), VirtioMemRequest(part), online(2))
    assert do(kernel, *lend) is None
    assert xen_balloon.ballooned_pages(kernel) == []
    assert do(kernel, DecreaseReservation(pages(0, 1))) is None
    assert IncreaseReservation.enabled(kernel)


def test_two_ranges_are_enough_for_a_balloon() -> None:
    kernel = ready()
    assert DecreaseReservation.enabled(kernel)
    assert do(kernel, INFLATE, DecreaseReservation(pages(20, 21))) is None
    assert not DecreaseReservation.enabled(kernel)


def test_a_balloon_that_forgets_to_take_a_page_off_is_noticed() -> None:
    kernel = ready()
    kernel.pfns.set_bits(PAGE, "page_flags", PageFlag.PG_offline)
    found = {each.invariant for each in Checker(kernel).boot()}
    assert "offline_pages_are_not_in_the_buddy_allocator" in found


# A guest of Xen


def guest() -> Kernel:
    """C is online."""
    kernel = boot("xen")
    assert do(kernel, add(C), online(2)) is None
    return kernel


def test_on_xen_memory_that_goes_online_is_in_the_balloon() -> None:
    kernel = boot("xen")
    before = managed(kernel)
    assert do(kernel, add(C), online(2)) is None
    assert (managed(kernel), kernel.zone(0, ZoneType.ZONE_NORMAL).present_pages) == (before, 18)
    assert xen_balloon.ballooned_pages(kernel) == [C]
    x = kernel.extents()
    assert set(page_states(x)[x.touched([C])].tolist()) == {PageState.WITHHELD}
    assert Checker(kernel).boot() == []
    assert do(kernel, offline(2)) == errno.EBUSY


def test_on_xen_it_gets_to_the_allocator_when_the_balloon_is_deflated() -> None:
    kernel = guest()
    before = managed(kernel)
    assert do(kernel, IncreaseReservation(pages(16, 18))) is None
    assert kernel.pfns.at(16, "page_flags") == PageFlag.MANAGED
    assert (managed(kernel), xen_balloon.ballooned_pages(kernel)) == (before + 2, [pages(18, 24)])
    assert do(kernel, IncreaseReservation(pages(18, 24)), offline(2), remove(C)) is None
    assert Checker(kernel).boot() == []


@pytest.mark.parametrize("geometry", ["tiny", "tiny_tile"])
def test_on_xen_a_block_whose_removal_fails_is_in_the_balloon_again(geometry: str) -> None:
    kernel = boot("xen", geometry)
    both = pages(16, 32)
    assert do(kernel, add(both), online(2), online(3), IncreaseReservation(both)) is None
    assert do(kernel, PinPages(pages(30, 31))) is None
    checker, before = Checker(kernel), managed(kernel)
    outcome = checker.apply(OfflineAndRemoveMemory(both, unmovable=False))
    assert (str(outcome.refusal), outcome.violations) == ("-EBUSY", [])
    assert xen_balloon.ballooned_pages(kernel) == [C]
    assert managed(kernel) == before - 8


def test_a_page_that_is_neither_managed_nor_in_the_balloon_is_noticed() -> None:
    kernel, both = boot("xen"), pages(16, 32)
    assert do(kernel, add(both), online(2), online(3), IncreaseReservation(both)) is None
    before = kernel.snapshot()
    xen_balloon.xen_online_page(kernel, C)
    zone = kernel.zone(0, ZoneType.ZONE_NORMAL)
    for lost, found in ((8, []), (9, [zone.span])):
        zone.managed_pages = before.zone(0, ZoneType.ZONE_NORMAL).managed_pages - lost
        assert refusals_leave_the_machine_alone(before, KernelRefusal(errno.EBUSY), kernel) == found


def test_before_6_11_what_the_balloon_keeps_is_reserved_and_freed_all_the_same() -> None:
    kernel = boot("xen", rules=KernelVariant.named("6.10", ()).rules())
    assert do(kernel, add(C), online(2)) is None
    marks = PageFlag.PG_reserved | PageFlag.PG_offline | PageFlag.WITHHELD
    assert kernel.pfns.at(16, "page_flags") == marks
    assert do(kernel, IncreaseReservation(C), offline(2)) is None
    assert Checker(kernel).boot() == []


def test_no_other_driver_decides_which_pages_go_online_on_xen() -> None:
    kernel = boot("xen")
    state = kernel.fingerprint()
    assert do(kernel, VirtioMemProbe(C, 0, 2, force_bbm=False)) == errno.EINVAL
    assert kernel.fingerprint() == state


def test_a_dump_leaves_out_what_the_balloon_of_xen_gave_back() -> None:
    kernel = guest()
    x = kernel.extents()
    assert not (read_from_oldmem(x) & x.touched([C])).any()
    assert read_from_oldmem(x)[x.row_at(8)]
    kernel.rules = replace(kernel.rules, answers_vmcore=frozenset({"virtio_mem"}))
    found = {each.invariant: each.pfns for each in Checker(kernel).boot()}
    assert found == {"unplugged_memory_is_not_dumped": (C,)}
