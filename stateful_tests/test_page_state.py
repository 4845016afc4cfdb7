"""What a page is follows from who owns it, never from PG_reserved alone."""

from __future__ import annotations

import numpy as np
import pytest

from hotplug_model.changes import KernelVariant
from hotplug_model.extents import Extents
from hotplug_model.flags import PageFlag
from hotplug_model.kernel import Kernel
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.page_state import TRUTHS, Decision, PageState, page_states
from hotplug_model.pfn import PfnRange
from hotplug_model.scenes import SCENES
from stateful_tests.kernels import HOLE, B, C, add, boot, busy, device, do, offline, online, pages


def states(x: Extents) -> set[PageState]:
    return {PageState(state) for state in np.unique(page_states(x)).tolist()}


def state_of(kernel: Kernel, pfns: PfnRange) -> set[PageState]:
    x = kernel.extents()
    inside = (x.start_pfn < pfns.end_pfn) & (x.end_pfn > pfns.start_pfn)
    return {PageState(state) for state in page_states(x)[inside].tolist()}


def test_every_state_has_its_truth_and_every_scene_shows_its_state() -> None:
    assert set(TRUTHS) == set(PageState)
    for scene in SCENES:
        assert any(scene.shows in states(x) for x in scene.looks(MAINLINE)), scene.name


def test_scenes_reach_all_states() -> None:
    seen = set().union(*(states(x) for scene in SCENES for x in scene.looks(MAINLINE)))
    assert seen == set(PageState)


@pytest.mark.parametrize(
    ("pfns", "state"),
    [
        (pages(0, 12), PageState.ONLINE), (HOLE, PageState.GENERIC),
        (C, PageState.OFFLINE_POISONED), (pages(24, 32), PageState.ONLINE),
        (pages(32, 33), PageState.NO_MEMMAP),
    ],
)  # fmt: skip
def test_the_busy_machine(pfns: PfnRange, state: PageState) -> None:
    kernel = busy()
    if pfns.end_pfn <= kernel.geometry.all_pfns.end_pfn:
        assert state_of(kernel, pfns) == {state}


def test_the_reserved_flag_changes_no_state_of_hotplugged_pages() -> None:
    kernel = busy()
    before = [state_of(kernel, pfns) for pfns in (HOLE, C, pages(24, 32))]
    for pfns in (HOLE, C, pages(24, 32)):
        kernel.pfns.set_bits(pfns, "page_flags", PageFlag.PG_reserved)
    assert [state_of(kernel, pfns) for pfns in (HOLE, C, pages(24, 32))] == before
    for pfns in (HOLE, C, pages(24, 32)):
        kernel.pfns.clear_bits(pfns, "page_flags", PageFlag.PG_reserved)
    assert [state_of(kernel, pfns) for pfns in (HOLE, C, pages(24, 32))] == before


def test_boot_memory_is_reserved_where_memblock_kept_it() -> None:
    kernel = boot("boot-reserved")
    assert state_of(kernel, B) == {PageState.ONLINE, PageState.BOOT_RESERVED}
    kernel.pfns.clear_bits(B, "page_flags", PageFlag.PG_reserved)
    assert state_of(kernel, B) == {PageState.ONLINE, PageState.BOOT_RESERVED}


@pytest.mark.parametrize(
    ("mark", "state"),
    [
        (PageFlag.PG_offline, PageState.FAKE_OFFLINE), (PageFlag.PG_hwpoison, PageState.HWPOISON),
        (PageFlag.PG_vmemmap_self_hosted, PageState.SELF_HOSTED),
    ],
)  # fmt: skip
def test_online_ram_is_what_its_owner_marks(mark: PageFlag, state: PageState) -> None:
    kernel = busy()
    kernel.pfns.set_bits(pages(26, 28), "page_flags", mark)
    assert state_of(kernel, pages(26, 28)) == {state}
    assert state_of(kernel, pages(24, 26)) == {PageState.ONLINE}


def test_a_hole_stays_one_whoever_was_given_it() -> None:
    kernel = boot()
    assert state_of(kernel, HOLE) == {PageState.BOOT_HOLE}
    kernel.pfns.write(HOLE, page_flags=PageFlag.MANAGED, refcount=0)
    kernel.pfns.merge()
    assert PageState.ONLINE not in state_of(kernel, HOLE)


def test_memory_that_went_offline_is_poisoned_or_stale() -> None:
    for layout, state in (
        ("collision", PageState.OFFLINE_POISONED), ("stale", PageState.WAS_ONLINE),
    ):  # fmt: skip
        kernel = boot(layout)
        assert do(kernel, add(C), online(2), offline(2)) is None
        assert state_of(kernel, C) == {state}


@pytest.mark.parametrize(
    ("release", "added"),
    [
        ("4.9", PageState.NEVER_ONLINED), ("4.14", PageState.OFFLINE_POISONED),
        ("5.4", PageState.OFFLINE_POISONED),
    ],
)  # fmt: skip
def test_before_5_5_offline_memory_keeps_what_offlining_wrote(
    release: str, added: PageState
) -> None:
    kernel = boot(rules=KernelVariant.named(release, ()).rules())
    assert do(kernel, add(C)) is None
    assert state_of(kernel, C) == {added}
    assert do(kernel, online(2), offline(2)) is None
    assert state_of(kernel, C) == {PageState.WAS_ONLINE}
    x = kernel.snapshot().extents()
    assert x.initialised[x.touched([C])].all()


def test_an_altmap_is_told_from_the_data_behind_it() -> None:
    kernel = boot()
    assert do(kernel, device(pages(16, 32), kind="fs_dax", altmap=(4, 8))) is None
    wanted = (PageState.ALTMAP_RESERVE, PageState.ALTMAP_FREE, PageState.FS_DAX)
    parts = (pages(16, 20), pages(20, 28), pages(28, 32))
    assert [state_of(kernel, part) for part in parts] == [{state} for state in wanted]


def test_nobody_wants_yes_and_either_at_once() -> None:
    for state, truth in TRUTHS.items():
        assert not truth.yes & truth.either, state
    assert all(any(decision in truth.yes for truth in TRUTHS.values()) for decision in Decision)
