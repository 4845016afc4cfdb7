"""The matrix of architectures: every cell by the operations themselves, written out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hotplug_model.__main__ import main
from hotplug_model.architectures import ARCHITECTURES, ROWS, Asked, machine
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker
from hotplug_model.cli import make_parser
from hotplug_model.commands.arguments import settle
from hotplug_model.errors import UserError
from hotplug_model.flags import LinearMap
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.mm.arch_memory import ARCH_MEMORY
from hotplug_model.walk import WalkRequest, walk
from stateful_tests.kernels import C, add, boot, device, do, layout, offline, online, remove

NAMES = ("ia64", "powerpc", "s390", "sh", "tile", "x86-32", "x86-64", "arm64")
NO, NONE, ABSENT = "not mapped", "nothing there", "-ENXIO, not mapped"


def row(*cells: str) -> dict[str, str]:
    return dict(zip(NAMES, cells, strict=True))


NO_MEMORY = row(
    *(f"-ENOMEM, {NO}" for _ in range(6)), "-ENOMEM, still mapped", f"-ENOMEM, {NO}"
)
ADDED = row("mapped", "mapped", "mapped", "mapped", "by kmap()", "by kmap()", "mapped", "mapped")
REMOVED = row(NO, NO, NO, NO, "-EBUSY, by kmap()", NO, NO, NO)
DEVICE = row(ABSENT, NO, NO, ABSENT, ABSENT, ABSENT, NO, NO)
UNMAPPED = row(NONE, NO, NO, NONE, NONE, NONE, NO, NO)
EXPECTED = [
    ADDED,
    ADDED | {"powerpc": f"-EFAULT, {NO}", "s390": f"-ENOMEM, {NO}"},
    NO_MEMORY,
    REMOVED,
    REMOVED | {"s390": "-EBUSY, mapped"},
    row(*(f"-EINVAL, {NO}" for _ in NAMES)),
    DEVICE | dict.fromkeys(("powerpc", "s390", "x86-64", "arm64"), "mapped"),
    DEVICE | dict.fromkeys(("x86-64", "arm64"), "mapped")
    | {"powerpc": f"-EFAULT, {NO}", "s390": f"-ENOMEM, {NO}"},
    DEVICE
    | dict.fromkeys(("powerpc", "s390", "arm64"), f"-ENOMEM, {NO}")
    | {"x86-64": "-ENOMEM, still mapped"},
    UNMAPPED,
    DEVICE,
    DEVICE | dict.fromkeys(("powerpc", "s390", "x86-64", "arm64"), f"-ENOMEM, {NO}"),
    UNMAPPED,
    DEVICE | dict.fromkeys(("powerpc", "s390", "x86-64", "arm64"), f"-EINVAL, {NO}"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "cells"), list(zip(ROWS, EXPECTED, strict=True)))
def test_every_cell_is_reached_and_is_what_the_architecture_does(
    asked: Asked, cells: dict[str, str]
) -> None:
    assert {name: asked.outcome(name) for name in ARCHITECTURES.names()} == cells


def test_every_architecture_has_a_preset() -> None:
    presets = {GEOMETRIES[geometry].arch for geometry in ARCHITECTURES}
    assert presets == set(ARCH_MEMORY)
    assert tuple(ARCHITECTURES.names()) == NAMES


def test_a_preset_is_named_on_the_command_line() -> None:
    args = make_parser().parse_args(["check", "--arch", "x86-32"])
    assert settle(args) == KernelVariant()
    assert args.geometry == "tiny_x86_32"
    with pytest.raises(UserError, match="did you mean powerpc"):
        settle(make_parser().parse_args(["walk", "--arch", "power"]))


def test_a_preset_and_a_geometry_are_too_much(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--arch", "sh", "--geometry", "tiny"]) == 2
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ia64", "sh", "tile", "x86-32"])
def test_a_short_walk_holds_where_nobody_adds_memory_any_more(name: str) -> None:
    geometry = ARCHITECTURES[name]
    request = WalkRequest(
        variant=KernelVariant(), geometry=geometry, steps=400, seed=5,
        layouts={each: layout(each, geometry) for each in ("collision", "two-nodes")},
    )  # fmt: skip
    report = walk(request)
    assert report.trace is None
    removed = report.coverage.outcomes["remove_memory"]["ok"]
    assert bool(removed) == (name != "tile")


def test_where_nothing_is_removed_all_stays_whatever_is_offline() -> None:
    kernel = machine("tile")
    assert do(kernel, add(C), online(2), offline(2)) is None
    before = kernel.fingerprint()
    checker = Checker(kernel)
    outcome = checker.apply(remove(C))
    assert (outcome.refusal is not None, outcome.violations) == (True, [])
    assert kernel.fingerprint() == before


def test_high_memory_is_no_mapping_and_goes_with_its_memory() -> None:
    kernel = machine("x86-32")
    assert do(kernel, add(C)) is None
    assert set(kernel.pfns.within(C, "linear_map").tolist()) == {LinearMap.HIGHMEM}
    assert kernel.extents().kernel_page_present.all() == kernel.extents().subsection.all()
    assert do(kernel, remove(C)) is None
    assert set(kernel.pfns.within(C, "linear_map").tolist()) == {LinearMap.NONE}


def test_a_memmap_that_ia64_kept_is_used_again() -> None:
    kernel = machine("ia64")
    assert do(kernel, add(C), remove(C)) is None
    frames = kernel.vmemmap.live_pages()
    assert do(kernel, add(C)) is None
    assert kernel.vmemmap.live_pages() == frames


def test_no_device_without_zone_device_changes_anything() -> None:
    kernel = machine("ia64")
    before = kernel.fingerprint()
    do(kernel, device(C))
    assert kernel.fingerprint() == before


def test_what_an_architecture_lacks_cannot_be_asked_of_its_boot() -> None:
    with pytest.raises(UserError, match="sh has no sparsemem_vmemmap"):
        replace(layout(), sparsemem_vmemmap=True).validate(GEOMETRIES["tiny_sh"])
    assert not boot("collision", "tiny_sh").layout.sparsemem_vmemmap
