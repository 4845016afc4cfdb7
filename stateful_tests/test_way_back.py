"""Bounded liveness: what comes back, what stays behind, and what has no way back."""

from __future__ import annotations

import json

import pytest

from hotplug_model.__main__ import main
from hotplug_model.boot import LAYOUTS
from hotplug_model.checker import carry_out
from hotplug_model.defects import DEFECTS
from hotplug_model.explore import Expander, Exploration, Space, residues
from hotplug_model.explore import way_back as ways
from hotplug_model.explore.residues import (
    AGAIN,
    BROKEN,
    DEVICE_SPAN,
    EARLY_MEMMAP,
    LEFT,
    NOT_CONTIGUOUS,
    RESIDUES,
    TAINT,
)
from hotplug_model.explore.way_back import LEAVES, Way, WaysBack, look_for_ways_back, way_back
from hotplug_model.flags import SectionFlag
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.ops.dax_kmem import DaxKmemProbe, DaxKmemRemove
from hotplug_model.ops.memory_block import VetoMemoryNotifier
from hotplug_model.ops.memory_failure import HardOfflinePage
from hotplug_model.ops.memory_hotplug import OfflineAndRemoveMemory
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.ops.pages import PinPages
from hotplug_model.ops.xen_balloon import DecreaseReservation
from hotplug_model.trace import Trace
from stateful_tests.kernels import HOLE, B, C, add, boot, device, do, offline, online, pages


def after(*ops: Op, of: str = "collision") -> tuple[Kernel, Kernel]:
    booted = boot(of)
    kernel = booted.snapshot()
    assert do(kernel, *ops) is None
    return kernel, booted


def searched(limit: int, *layouts: str, faults: bool = False) -> WaysBack:
    made = [LAYOUTS[name](GEOMETRIES["tiny"]) for name in layouts]
    machines = tuple(Trace(geometry="tiny", boot=each) for each in made)
    exploration = Exploration(space=Space(machines=machines, unusual=0, faults=faults))
    exploration.run(Expander(exploration.space), 1)
    found = WaysBack(limit=limit)
    look_for_ways_back(exploration, found, lambda ways: None)
    assert found.nr_states == len(exploration.visited)
    return found


# One way


@pytest.mark.parametrize(
    ("ops", "nr", "left"),
    [
        ((), 0, ()),
        ((add(C),), 1, ()),
        ((add(C), online(2)), 2, ()),
        ((add(C), online(2), PinPages(pages(16, 17))), 3, ()),
        ((DecreaseReservation(pages(7, 8)),), 1, ()),
        ((VetoMemoryNotifier(True, True),), 1, ()),
        ((add(C), online(2), VetoMemoryNotifier(False, True)), 3, ()),
        ((DaxKmemProbe((pages(16, 32),), 0), online(2), online(3)), 3, ()),
        ((DaxKmemProbe((C,), 0), online(2), DaxKmemRemove()), 1, (LEFT,)),
        ((device(C),), 1, (DEVICE_SPAN,)),
        ((device(HOLE),), 1, (TAINT, EARLY_MEMMAP, DEVICE_SPAN)),
        ((device(HOLE), MemunmapPages(0)), 0, (TAINT, EARLY_MEMMAP, DEVICE_SPAN)),
    ],
)
def test_what_was_done_is_undone(ops: tuple[Op, ...], nr: int, left: tuple[str, ...]) -> None:
    kernel, booted = after(*ops)
    before = kernel.fingerprint()
    way = way_back(kernel, booted)
    assert (len(way.ops), way.left, way.whole) == (nr, left, True)
    assert kernel.fingerprint() == before
    for op in way.ops:
        assert carry_out(kernel, op)[0] is None
    assert residues.differences(kernel, booted) == left


@pytest.mark.parametrize("online_type", ["", "online_kernel", "online_movable"])
def test_boot_memory_goes_online_in_the_zone_that_it_was_in(online_type: str) -> None:
    ops = (offline(1), *([online(1, online_type)] if online_type else []))
    kernel, booted = after(*ops, of="two-nodes")
    moved = kernel.blocks[1].zone != booted.blocks[1].zone
    way = way_back(kernel, booted)
    nr = 1 if not online_type else 2 * moved
    assert (len(way.ops), way.left) == (nr, (NOT_CONTIGUOUS,))


@pytest.mark.parametrize("more", [(), (offline(1),)])
def test_what_broke_stays_broken_and_its_block_offline(more: tuple[Op, ...]) -> None:
    kernel, booted = after(HardOfflinePage(8), *more, of="two-nodes")
    way = way_back(kernel, booted)
    assert (way.ops, way.left) == ((), (BROKEN,))


def test_boot_memory_comes_back_as_added_memory() -> None:
    kernel, booted = after(OfflineAndRemoveMemory(B, unmovable=False), of="two-nodes")
    way = way_back(kernel, booted)
    assert [op.op_name() for op in way.ops] == ["add_memory", "online_memory_block"]
    assert way.left == (AGAIN, NOT_CONTIGUOUS)


def test_what_is_lost_in_vmemmap_is_not_taken_for_boot_memory_that_came_back() -> None:
    kernel, booted = after(OfflineAndRemoveMemory(B, unmovable=False), of="two-nodes")
    stray = kernel.geometry.memmap_of(C)
    kernel.vmemmap.write(stray, level=1)
    assert "vmemmap" in way_back(kernel, booted).left


def test_a_flag_that_nobody_takes_back_has_no_way_and_no_excuse() -> None:
    kernel, booted = after()
    kernel.pfns.set_bits(C, "section_flags", SectionFlag.MARKED_PRESENT)
    kernel.pfns.clear_bits(B, "section_flags", SectionFlag.IS_ONLINE)
    way = way_back(kernel, booted)
    assert not way.whole
    assert {"section_flags MARKED_PRESENT", "section_flags without IS_ONLINE"} <= set(way.left)
    assert way.defects == ()


def test_a_known_defect_accounts_for_its_own_and_no_more() -> None:
    kernel, booted = after()
    carry_out(kernel, DaxKmemProbe((C,), 0, fail_at="usage"))
    way = way_back(kernel, booted)
    assert (way.defects, way.left) == (("an-add-that-failed-stays-mapped",), ("linear_map STRAY",))
    assert (way.lost, way.explained) == ((), True)
    kernel.pfns.clear_bits(B, "section_flags", SectionFlag.IS_ONLINE)
    way = way_back(kernel, booted)
    assert way.defects == ("an-add-that-failed-stays-mapped",)
    assert (way.lost, way.explained) == (("section_flags without IS_ONLINE",), False)


@pytest.mark.parametrize("name", LEAVES)
def test_no_known_defect_accounts_for_anything(name: str) -> None:
    own = sorted(LEAVES[name])
    assert name in DEFECTS.names()
    assert Way((), (*own, DEVICE_SPAN), (name,)).explained
    for leak in ("iomem", "blocks", "lender", "managed_pages of ZONE_NORMAL", "pgmap_array"):
        assert Way((), (*own, leak), (name,)).lost == (leak,)
    assert not Way((), (DEVICE_SPAN,), (name,)).explained


def test_memory_that_was_added_and_broke_is_not_there_at_boot() -> None:
    kernel, booted = after(add(C), online(2), HardOfflinePage(16), offline(2), of="two-nodes")
    assert BROKEN not in way_back(kernel, booted).left


def test_a_number_of_a_zone_that_is_off_is_named() -> None:
    kernel, booted = after()
    kernel.nodes[0].zones[1].cells[2] += 1
    (left,) = way_back(kernel, booted).left
    assert left.startswith("present_pages of ZONE_")


def test_a_zone_that_seems_contiguous_or_has_a_hole_is_named() -> None:
    kernel, booted = after()
    booted.nodes[0].zones[2].contiguous = 0
    assert way_back(kernel, booted).left == ("contiguous of ZONE_NORMAL",)
    kernel, booted = after(of="leading-hole")
    booted.nodes[0].zones[2].contiguous = 1
    assert way_back(kernel, booted).left == ("contiguous of ZONE_NORMAL",)


# All ways


@pytest.mark.unmeasured
def test_mainline_gets_back_from_every_state_but_for_known_defects() -> None:
    found = searched(4, "collision", "two-nodes", "memmap-on-memory", "auto-online")
    assert found.unexplained == []
    assert (found.longest, set(found.residues)) == (2, set(RESIDUES) - {LEFT})


@pytest.mark.unmeasured
def test_a_state_that_takes_too_long_counts_as_stuck() -> None:
    found = searched(1, "two-nodes")
    assert found.longest == 1
    (stuck,) = found.unexplained
    assert (len(stuck.way.ops), stuck.way.whole) == (2, True)
    assert [op.op_name() for op in stuck.machine.events] == ["offline_and_remove_memory"]


# The command

EXPLORE = ("explore", "--boot", "two-nodes", "--unusual", "0")


def test_the_command_says_what_stays_and_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*EXPLORE, "--back", "2"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the longest takes 2 of 2 operations" in said
    assert "keep the span of ZONE_DEVICE: ZONE_DEVICE never shrinks." in said


def test_the_command_fails_where_there_is_no_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "RESIDUES", {})
    assert main([*EXPLORE, "--back", "2", "--json", "-"]) == 1
    back = json.loads(capsys.readouterr().out)["back"]
    assert back["states"] > sum(each["states"] for each in back["stuck"]) > 0
    assert [DEVICE_SPAN] in [each["left"] for each in back["stuck"]]
    assert all(each["events"] for each in back["stuck"])


def test_what_has_no_way_is_drawn_with_its_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "RESIDUES", {})
    monkeypatch.setattr("hotplug_model.report.ways_back.MAX_STUCK", 1)
    assert main([*EXPLORE, "--back", "1"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "no known defect of mainline accounts for it" in said
    assert "more kinds" in said


def test_an_interrupt_on_the_way_back_keeps_what_was_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "way_back", interrupted)
    assert main([*EXPLORE, "--back", "2"]) == 130
    assert "HELD (interrupted)" in capsys.readouterr().out


def interrupted(*args: object) -> None:
    raise KeyboardInterrupt


def test_without_being_asked_nobody_goes_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*EXPLORE, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["back"] is None
