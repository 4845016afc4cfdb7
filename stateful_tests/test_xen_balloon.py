"""The balloon: what it takes is nobody's, and its block stays online."""

from __future__ import annotations

import errno

from hotplug_model.checker import Checker
from hotplug_model.flags import PageFlag, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.mm import xen_balloon
from hotplug_model.ops.memory_failure import HardOfflinePage
from hotplug_model.ops.virtio_mem import VirtioMemProbe, VirtioMemRequest
from hotplug_model.ops.xen_balloon import DecreaseReservation, IncreaseReservation
from hotplug_model.page_state import PageState, page_states
from stateful_tests.kernels import C, add, boot, do, offline, online, pages

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
    for online_type in ("online_kernel", "online_movable"):
        kernel = ready(online_type)
        assert do(kernel, INFLATE) is None
        assert do(kernel, offline(2)) == errno.EBUSY
        assert do(kernel, DEFLATE, offline(2)) is None


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
