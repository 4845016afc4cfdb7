"""``hotplug-model cost``: what a memmap costs and what coming and going leaks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hotplug_model.__main__ import main
from hotplug_model.changes import KernelVariant
from hotplug_model.commands.cost import size, size_bytes
from hotplug_model.cost import CostRequest, cost
from hotplug_model.errors import UserError
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.mm.arch_memory import ARCH_MEMORY

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
LEAKS = "own_cost:leaks"
OWN = """
from dataclasses import replace

def leaks(rules):
    return replace(rules, arm64_frees_vmemmap=False)

def loses(rules):
    return replace(rules, altmap_gives_huge_pages_only=False)
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield
    sys.path[:] = before


def as_json(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    assert main(["cost", *args, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def printed(capsys: pytest.CaptureFixture[str], *args: str) -> list[str]:
    assert main(["cost", *args]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("struct_page", "mib"), [("56", 14), ("64", 16)])
def test_a_section_of_1_gib_takes_14_mib_at_56_bytes_and_16_at_64(
    struct_page: str, mib: int, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("--geometry", "arm64_4k_5_11", "--struct-page", struct_page, "--add", "1G")
    found = as_json(capsys, *args)
    assert found["section_bytes"] == GIB
    assert found["needed_bytes"] == found["needed_bytes_by_origin"]["buddy"] == mib * MIB
    assert f"needs {mib} MiB of vmemmap" in printed(capsys, *args)[2]


NEEDS: dict[str, tuple[str, dict[str, int]]] = {
    "--add 128M": ("a section of x86-64 is one huge page", {"buddy": 2 * MIB}),
    "--add 128M --geometry x86_64_56": ("seven eighths of one are used", {"buddy": 2 * MIB}),
    "--add 1G --geometry x86_64_56": ("eight sections share seven", {"buddy": 14 * MIB}),
    "--add 128M --altmap": ("the block holds it", {"self_hosted": 2 * MIB}),
    "--add 128M --device --altmap": ("the device holds it", {"altmap": 2 * MIB}),
    "--add 2M --device": ("base pages and a table", {"buddy": 32 * KIB, "page_tables": 4 * KIB}),
    "--add 2M --device --altmap": (
        "x86 takes no base page from it", {"buddy": 32 * KIB, "page_tables": 4 * KIB}
    ),
    "--add 2M --device --altmap --geometry arm64_4k": (
        "arm64 does", {"altmap": 32 * KIB, "page_tables": 4 * KIB}
    ),
    "--add 2M --device --geometry arm64_64k": (
        "one page for 32 of them", {"buddy": 64 * KIB, "page_tables": 64 * KIB}
    ),
    "--add 64M --device --geometry arm64_64k": (
        "one page for 32 of them", {"buddy": 64 * KIB, "page_tables": 64 * KIB}
    ),
    "--add 16M --geometry powerpc_64k": ("one mapping describes 16 GiB", {"buddy": 16 * MIB}),
    "--add 16G --geometry powerpc_64k": ("one mapping describes 16 GiB", {"buddy": 16 * MIB}),
    "--add 256M --geometry s390": ("large frames", {"buddy": 4 * MIB}),
}  # fmt: skip


@pytest.mark.parametrize("args", NEEDS)
def test_what_is_needed_is_what_the_architecture_takes(
    args: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = as_json(capsys, *args.split())
    needed = {name: nr for name, nr in found["needed_bytes_by_origin"].items() if nr}
    assert needed == NEEDS[args][1], NEEDS[args][0]


@pytest.mark.parametrize(
    "geometry", [n for n, sizes in GEOMETRIES.items() if ARCH_MEMORY[sizes.arch].zone_device]
)
@pytest.mark.parametrize("how", [(), ("--altmap",), ("--device",), ("--device", "--altmap")])
def test_mainline_leaks_nothing(
    geometry: str, how: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = GEOMETRIES[geometry]
    amount = str(sizes.pages_per_section * sizes.page_bytes)
    args = (*how, "--geometry", geometry, "--cycles", "3", "--add", amount)
    found = as_json(capsys, *args)
    assert (found["leaked_bytes"], found["breaches"], found["refused"]) == (0, {}, "")
    assert found["leaked_bytes_after_each_cycle"] == [0, 0, 0]
    assert "after 3 cycles of add and remove nothing is left" in printed(capsys, *args)[3]


def test_ia64_keeps_a_memmap_and_finds_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--geometry", "tiny_ia64", "--add", "1K", "--cycles", "3")
    found = as_json(capsys, *args)
    assert found["leaked_bytes_after_each_cycle"] == [640, 640, 640]


def test_a_memmap_that_is_never_freed_is_kept_once(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own_cost.py").write_text(OWN)
    args = ("--geometry", "arm64_4k", "--add", "128M", "--cycles", "4", "--change", LEAKS)
    found = as_json(capsys, *args)
    assert found["leaked_bytes_after_each_cycle"] == [2 * MIB] * 4
    assert found["leaked_bytes_a_cycle"] == MIB / 2
    assert found["leaked_bytes_by_origin"]["buddy"] == 2 * MIB
    told = "\n".join(printed(capsys, *args))
    assert "after 4 cycles of add and remove 2 MiB is left: 2 MiB from the buddy" in told
    assert "that is 2 MiB after the first one, and 0 B more after the others" in told


def test_a_release_is_counted_like_a_change(capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--geometry", "x86_64_56", "--add", "128M")
    assert as_json(capsys, *args, "--release", "5.12")["leaked_bytes"] == 2 * MIB
    assert as_json(capsys, *args, "--release", "5.13")["leaked_bytes"] == 0


def test_what_is_never_removed_is_added_once(capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--geometry", "arm64_4k", "--add", "128M", "--cycles", "4", "--release", "5.6")
    assert as_json(capsys, *args)["leaked_bytes_after_each_cycle"] == [2 * MIB]
    assert "the kernel refused to add it again in cycle 2: -EEXIST" in "\n".join(
        printed(capsys, *args)
    )


def test_a_change_of_ones_own_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own_cost.py").write_text(OWN)
    args = ("--geometry", "arm64_4k", "--add", "128M", "--change", LEAKS)
    assert as_json(capsys, *args)["leaked_bytes"] == 2 * MIB


def test_a_page_that_goes_to_the_wrong_place_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own_cost.py").write_text(OWN)
    args = ("--device", "--altmap", "--add", "2M", "--change", "own_cost:loses")
    found = as_json(capsys, *args)
    assert set(found["breaches"]) == {"FREED_TO_A_STRANGER", "ALTMAP_IN_USE_AT_TEARDOWN"}
    told = printed(capsys, *args)
    assert "in how many places: ALTMAP_IN_USE_AT_TEARDOWN (1), FREED_TO_A_STRANGER (1)" in told[-1]


def test_what_goes_to_an_altmap_that_never_had_it_is_lost() -> None:
    sizes = GEOMETRIES["x86_64"]
    request = CostRequest(
        variant=KernelVariant.named(None, ("altmap-for-base-pages",)), geometry=sizes,
        size_bytes=2 * MIB, cycles=3, device=True, altmap=True,
    )  # fmt: skip
    found = cost(request)
    # The struct pages of 2 MiB are 8 base pages.
    assert [left["BUDDY"] for left in found.left] == [8, 16, 24]
    assert found.unmapped == 24


def test_x86_before_5_13_keeps_huge_pages_that_a_section_used_in_part() -> None:
    without = ("280abe14b6e0", "8d400913c231")
    assert leaked("x86_64_56", 128 * MIB, without) == 2 * MIB
    assert leaked("x86_64_56", GIB, without) == 0
    assert leaked("x86_64", 128 * MIB, without) == 0


def leaked(geometry: str, amount: int, changes: tuple[str, ...]) -> int:
    sizes = GEOMETRIES[geometry]
    request = CostRequest(
        variant=KernelVariant.named(None, changes), geometry=sizes, size_bytes=amount, cycles=2
    )
    return sum(cost(request).leaked.values()) * sizes.page_bytes


def test_many_sections_cost_as_many_times_as_much() -> None:
    sizes = GEOMETRIES["x86_64"]
    request = CostRequest(
        variant=KernelVariant(), geometry=sizes, size_bytes=64 * GIB, cycles=1
    )
    assert sum(cost(request).needed.values()) * sizes.page_bytes == GIB


MISTAKES = {
    "": "required: --add",
    "--add 1X": "--add: '1X' is no size",
    "--add -1G": "expected one argument",
    "--add 0": "no whole sections",
    "--add 1M": "1048576 bytes are no whole sections of 134217728 bytes",
    "--add 1M --device": "1048576 bytes are no whole subsections of 2097152 bytes",
    "--add 100T": "do not fit",
    "--add 999999999999999999T": "do not fit",
    "--add 1G --geometry x86-64": "did you mean x86_64",
    "--add 1G --struct-page 48": "struct page of 48 bytes",
    "--add 1G --struct-page 57": "no multiple of 8",
    "--add 1G --struct-page big": "invalid int value",
    "--add 1G --cycles 0": "invalid number of cycles",
    "--add 1G --cycles many": "invalid number of cycles",
    "--add 1G --change bbd6ec": "did you mean bbd6ec605c0f?",
    "--add 1G --release 3.10": "no release '3.10'",
}


@pytest.mark.parametrize(("args", "reason"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_gets_one_line_and_exit_2(
    args: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cost", *args.split()]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert reason in captured.err
    assert captured.err.count("\n") == 1


def test_what_the_kernel_refuses_at_once_is_a_mistake() -> None:
    request = CostRequest(
        variant=KernelVariant.named("5.13", ()), geometry=GEOMETRIES["x86_64_56"],
        size_bytes=256 * MIB, cycles=1, altmap=True,
    )  # fmt: skip
    with pytest.raises(UserError, match="the kernel refuses to add"):
        cost(request)


@pytest.mark.parametrize(
    ("text", "nr_bytes"),
    [("4096", 4096), ("128M", 128 * MIB), ("1g", GIB), ("2KiB", 2048), ("3TB", 3 << 40)],
)
def test_sizes_are_read_as_people_write_them(text: str, nr_bytes: int) -> None:
    assert size_bytes(text) == nr_bytes


@pytest.mark.parametrize(
    ("nr_bytes", "text"),
    [(0, "0 B"), (1000, "1000 B"), (2048, "2 KiB"), (14 * MIB, "14 MiB"), (-MIB, "-1 MiB"),
     (1835008, "1.75 MiB"), (3 << 40, "3 TiB")],
)  # fmt: skip
def test_sizes_are_written_in_the_largest_unit_that_fits(nr_bytes: int, text: str) -> None:
    assert size(nr_bytes) == text


DEFERRED, LOCKED, CONSTRUCTED = (), ("966cf44f637e",), ("seed002-constructor",)
PMEM, MEMMAP = 1 << 18, 1 << 12
"""Pages of 1 GiB, and of its memmap."""


@pytest.mark.parametrize(
    ("changes", "altmap", "visits"),
    [
        (DEFERRED, False, (0, PMEM, 0)),
        (DEFERRED, True, (MEMMAP, PMEM - MEMMAP, 0)),
        (LOCKED, False, (PMEM, PMEM, PMEM)),
        (LOCKED, True, (PMEM, PMEM - MEMMAP, PMEM - MEMMAP)),
        (CONSTRUCTED, False, (PMEM, PMEM, PMEM)),
        (CONSTRUCTED, True, (PMEM, 0, 0)),
    ],
)
def test_device_pages_are_written_under_the_lock_and_twice_as_the_kernel_does(
    changes: tuple[str, ...], altmap: bool, visits: tuple[int, int, int],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = [word for change in changes for word in ("--change", change)]
    words += ["--altmap"] * altmap
    found = as_json(capsys, "--add", "1G", "--device", *words)["initialised"]
    assert (found["locked"], found["unlocked"], found["twice"]) == visits
    line = f"  writes {visits[0]:,} struct pages while mem_hotplug_lock is held, "
    line += f"{visits[1]:,} without it, {visits[2]:,} of them twice"
    assert line in printed(capsys, "--add", "1G", "--device", *words)


def test_ram_is_not_initialised_before_it_is_online(capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, "--add", "1G")["initialised"]
    assert set(found.values()) == {0}
    assert not any("mem_hotplug_lock" in line for line in printed(capsys, "--add", "1G"))
