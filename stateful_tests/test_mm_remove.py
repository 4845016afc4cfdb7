"""System RAM removed: remove_memory(), offline_and_remove_memory()."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Literal

import pytest

from hotplug_model.flags import (
    MHP_MEMMAP_ON_MEMORY,
    BlockState,
    LinearMap,
    MemmapOrigin,
    SectionFlag,
    ZoneType,
)
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.mm.add_pages import remove_pages
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.ops import Op
from hotplug_model.ops.memory_block import VetoMemoryNotifier
from hotplug_model.ops.memory_hotplug import OfflineAndRemoveMemory
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.ops.pages import PinPages
from hotplug_model.pfn import PfnRange
from hotplug_model.state.ledger import Law
from stateful_tests.kernels import (
    HOLE,
    B,
    C,
    D,
    add,
    boot,
    device,
    do,
    layout,
    offline,
    online,
    pages,
    remove,
)

NORMAL, MOVABLE = ZoneType.ZONE_NORMAL, ZoneType.ZONE_MOVABLE
OFFLINE, ONLINE = BlockState.MEM_OFFLINE, BlockState.MEM_ONLINE
HOSTED = add(C, mhp_flags=MHP_MEMMAP_ON_MEMORY)
CD = pages(16, 32)
PINNED = PinPages(pages(17, 18))
USAGE = SectionFlag.USAGE | SectionFlag.BOOT_USAGE


def machine(*ops: Op, of: str = "collision") -> Kernel:
    kernel = boot(of)
    assert do(kernel, *ops) is None
    kernel.notified.clear()
    return kernel


def movable_memory(*then: Op) -> Kernel:
    return machine(
        add(CD), online(2, "online_movable"), online(3, "online_movable"), *then
    )


# remove_memory()


def test_removed_memory_leaves_nothing_behind() -> None:
    kernel, untouched = machine(add(C), online(2), offline(2), remove(C)), boot()
    assert kernel.fingerprint() == untouched.fingerprint()


def test_removing_a_part_cuts_the_region() -> None:
    kernel = machine(add(CD), remove(C))
    assert kernel.iomem.named("System RAM")[-1] == D
    assert kernel.blocks.keys() == {0, 1, 3}


def test_removing_what_is_not_there_succeeds() -> None:
    kernel = machine()
    before = kernel.fingerprint()
    assert do(kernel, remove(CD)) is None
    assert kernel.fingerprint() == before


def test_a_section_that_devices_hold_in_part_is_only_warned_about_but_unmapped() -> None:
    kernel = machine(device(pages(16, 18)))
    before = kernel.snapshot()
    assert do(kernel, remove(C)) is None
    assert [entry.law for entry in kernel.ledger.breaches] == [Law.REMOVED_AS_ANOTHER_CLASS]
    kernel.ledger.breaches.clear()
    before.pfns.write(C, linear_map=LinearMap.NONE)
    assert kernel.fingerprint() == before.fingerprint()


def test_a_misaligned_range_of_pages_is_only_warned_about() -> None:
    kernel = machine(add(C))
    before = kernel.fingerprint()
    assert list(remove_pages(kernel, pages(17, 24), None)) == []
    assert kernel.fingerprint() == before


def test_memory_that_never_was_online_was_in_no_zone_before_5_5_either() -> None:
    kernel = boot(rules=replace(MAINLINE, remove_pfn_range_from_zone_at_offline=False))
    before = kernel.nodes.fingerprint()
    assert do(kernel, add(C), remove(C)) is None
    assert kernel.nodes.fingerprint() == before


REMOVALS: list[tuple[str, str, tuple[Op, ...], PfnRange, int]] = [
    ("an online block", "collision", (add(C), online(2)), C, errno.EBUSY),
    ("one online block of two", "collision", (add(CD), online(3)), CD, errno.EBUSY),
    ("blocks with and without altmap", "memmap-on-memory", (HOSTED, add(D)), CD, errno.EINVAL),
    ("an altmap and nothing", "memmap-on-memory", (HOSTED,), CD, errno.EINVAL),
    ("half a block", "collision", (add(C),), pages(16, 20), errno.EINVAL),
    ("nothing", "collision", (add(C),), pages(16, 16), errno.EINVAL),
]


@pytest.mark.parametrize(
    ("of", "before", "pfns", "err"), [c[1:] for c in REMOVALS], ids=[c[0] for c in REMOVALS]
)
@pytest.mark.parametrize("how", ["remove", "offline and remove"])
def test_removing_refuses(
    of: str, before: tuple[Op, ...], pfns: PfnRange, err: int, how: str
) -> None:
    kernel = machine(*before, of=of)
    old = kernel.fingerprint()
    op = remove(pfns) if how == "remove" else OfflineAndRemoveMemory(pfns, unmovable=True)
    assert do(kernel, op) == err
    assert kernel.fingerprint() == old
    assert not kernel.locks.any_held


@pytest.mark.parametrize(("kind", "err"), [("one_block", errno.EINVAL), ("per_block", None)])
def test_before_6_8_blocks_with_their_own_memmap_are_removed_one_by_one(
    kind: Literal["one_block", "per_block"], err: int | None
) -> None:
    kernel = boot("memmap-on-memory", rules=replace(MAINLINE, memmap_on_memory=kind))
    assert do(kernel, HOSTED, add(D, mhp_flags=MHP_MEMMAP_ON_MEMORY)) is None
    assert do(kernel, remove(CD)) == err


def test_a_removed_boot_section_keeps_nothing_but_its_usage_map() -> None:
    kernel = machine(offline(1), remove(B), of="two-nodes")
    assert kernel.pfns.at(8, "section_flags") == USAGE
    assert kernel.pfns.at(8, "memmap") == MemmapOrigin.NONE
    assert kernel.pfns.at(0, "section_flags") & SectionFlag.IS_EARLY


def test_a_boot_section_that_was_added_again_is_not_early() -> None:
    kernel = machine(offline(1), remove(B), add(B, nid=1), of="two-nodes")
    present = SectionFlag.MARKED_PRESENT | SectionFlag.HAS_MEM_MAP | SectionFlag.MEMMAP
    assert kernel.pfns.at(8, "section_flags") == USAGE | present
    assert kernel.pfns.at(8, "memmap") == MemmapOrigin.BUDDY


def test_the_usage_map_of_an_added_section_goes_with_it() -> None:
    kernel = machine(add(C), remove(C))
    assert kernel.pfns.at(16, "section_flags") == 0


def test_a_memmap_in_the_block_goes_back_to_its_altmap() -> None:
    kernel = machine(HOSTED, remove(C), of="memmap-on-memory")
    assert kernel.ledger.breaches == []
    assert kernel.fingerprint() == boot("memmap-on-memory").fingerprint()


def test_the_boot_memmap_stays_when_a_device_leaves_the_hole() -> None:
    kernel = machine(device(HOLE), MemunmapPages(0))
    assert kernel.pfns.at(12, "memmap") == MemmapOrigin.BOOT
    assert kernel.pfns.at(12, "subsection") == 0


def test_sections_that_hold_nothing_but_memmap_are_online_on_their_own() -> None:
    """A block of 64 sections of x86-64 holds its memmap in the first of them."""
    sizes = GEOMETRIES["x86_64"]
    size = 64 * sizes.pages_per_section
    of = replace(
        layout("collision", "x86_64"),
        ram=((PfnRange(0, size), 0),), window=(PfnRange(size, 2 * size),),
        sections_per_block=64, memmap_on_memory=True,
    )  # fmt: skip
    kernel = boot(of, "x86_64")
    before = kernel.fingerprint()
    hosted = add(PfnRange(size, 2 * size), mhp_flags=MHP_MEMMAP_ON_MEMORY)
    assert do(kernel, hosted, online(1)) is None
    x = kernel.extents()
    assert x.where(x.online_page) == (PfnRange(0, 2 * size),)
    assert kernel.blocks[1].nr_vmemmap_pages == sizes.pages_per_section
    assert do(kernel, offline(1), remove(PfnRange(size, 2 * size))) is None
    assert kernel.fingerprint() == before


# offline_and_remove_memory()


def test_offline_and_remove_does_both() -> None:
    kernel = movable_memory()
    assert do(kernel, OfflineAndRemoveMemory(CD, unmovable=False)) is None
    assert kernel.fingerprint() == boot().fingerprint()


@pytest.mark.parametrize(
    ("first", "zone"), [("online_movable", MOVABLE), ("online_kernel", NORMAL)]
)
def test_what_went_offline_comes_back_online_where_it_was(first: str, zone: ZoneType) -> None:
    pin = PinPages(pages(30, 31))
    kernel = machine(add(CD), online(2, first), online(3), pin)
    before = kernel.fingerprint()
    assert do(kernel, OfflineAndRemoveMemory(CD, unmovable=False)) == errno.EBUSY
    assert [kernel.blocks[b].zone for b in (2, 3)] == [zone, NORMAL]
    assert kernel.fingerprint() == before


def test_blocks_that_were_offline_stay_so_when_removal_fails() -> None:
    kernel = machine(add(CD), online(3))
    assert do(kernel, OfflineAndRemoveMemory(CD, unmovable=True)) == errno.EBUSY
    assert [kernel.blocks[b].state for b in (2, 3)] == [OFFLINE, ONLINE]


def test_a_rollback_that_is_vetoed_leaves_the_block_offline() -> None:
    kernel = machine(
        add(CD), online(2), online(3), PinPages(pages(30, 31)),
        VetoMemoryNotifier(online=True, offline=False),
    )  # fmt: skip
    assert do(kernel, OfflineAndRemoveMemory(CD, unmovable=False)) == errno.EBUSY
    assert [kernel.blocks[b].state for b in (2, 3)] == [OFFLINE, ONLINE]
