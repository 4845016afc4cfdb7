"""The matrix of architectures: every cell by the operations themselves, written out by hand."""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import settings

from hotplug_model.__main__ import main
from hotplug_model.architectures import ARCHITECTURES, BEFORE_4_13, ROWS, Asked, machine
from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import QUIESCENT, Checker, Outcome, carry_out
from hotplug_model.cli import make_parser
from hotplug_model.commands.arguments import settle
from hotplug_model.errors import KernelRefusal, UserError
from hotplug_model.flags import (
    MHP_MEMMAP_ON_MEMORY,
    LinearMap,
    MemoryClass,
    NotifierAction,
    ZoneType,
)
from hotplug_model.floor import among
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.mm.arch_memory import ARCH_MEMORY
from hotplug_model.mm.zone_for_memory import arch_zone
from hotplug_model.ops import Op
from hotplug_model.pfn import PfnRange
from hotplug_model.walk import WalkRequest, walk
from stateful_tests.kernels import (
    C,
    D,
    add,
    boot,
    device,
    do,
    layout,
    milestones,
    offline,
    online,
    remove,
)

NAMES = ("ia64", "powerpc", "s390", "sh", "tile", "x86-32", "x86-64", "arm64")
NO, NONE, ABSENT = "not mapped", "(-ENXIO)", "-ENXIO, not mapped"


def row(*cells: str) -> dict[str, str]:
    return dict(zip(NAMES, cells, strict=True))


NO_MEMORY = row(
    *(f"-ENOMEM, {NO}" for _ in range(6)), "-ENOMEM, still mapped", f"-ENOMEM, {NO}"
)
ADDED = row("mapped", "mapped", "mapped", "mapped", "by kmap()", "by kmap()", "mapped", "mapped")
REMOVED = row(NO, NO, NO, NO, "-EBUSY, by kmap()", NO, NO, NO)
DEVICE = row(ABSENT, NO, NO, ABSENT, ABSENT, ABSENT, NO, NO)
MAPPED = DEVICE | dict.fromkeys(("powerpc", "s390", "x86-64", "arm64"), "mapped")
UNMAPPED = row(NONE, NO, NO, NONE, NONE, NONE, NO, NO)
EXPECTED = [
    ADDED,
    ADDED | {"powerpc": f"-EFAULT, {NO}", "s390": f"-ENOMEM, {NO}"},
    NO_MEMORY,
    NO_MEMORY | {"powerpc": "-ENOMEM, still mapped"},
    REMOVED,
    REMOVED | {"s390": "-EBUSY, mapped"},
    REMOVED | {"arm64": "-EBUSY, mapped"},
    ADDED | {"arm64": f"-ENOENT, {NO}"},
    row(*(f"-EINVAL, {NO}" for _ in NAMES)),
    row("Normal", "DMA", "Movable", "Normal", "Movable", "HighMem", "Normal", "not yet"),
    row(*("Movable", "(-EINVAL)", *("Movable",) * 5, "not yet")),
    MAPPED,
    MAPPED | {"powerpc": ABSENT, "s390": ABSENT, "arm64": ABSENT},
    MAPPED | {"powerpc": f"-EFAULT, {NO}", "s390": f"-ENOMEM, {NO}"},
    DEVICE
    | dict.fromkeys(("powerpc", "s390", "arm64"), f"-ENOMEM, {NO}")
    | {"x86-64": "-ENOMEM, still mapped"},
    UNMAPPED,
    MAPPED | {"s390": f"-EINVAL, {NO}"},
    MAPPED,
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


@pytest.mark.unmeasured
def test_the_whole_matrix_is_exercised_and_nothing_breaks() -> None:
    sometimes: dict[str, bool] = {}
    for asked in ROWS:
        for name in ARCHITECTURES.names():
            outcomes = exercised(asked, name)
            assert asked.changes or not any(each.violations for each in outcomes)
            begun = bool(outcomes) and not any(each.refusal for each in outcomes[:-1])
            sometimes[f"{asked.memory.name} {asked.operation} on {name}"] = begun
    missed = Counter(cell.split(" on ")[1] for cell in among(sometimes).missed)
    without_devices = dict.fromkeys(("ia64", "sh", "tile", "x86-32"), 3)
    assert missed == without_devices | {"powerpc": 1, "arm64": 2}
    assert len(sometimes) == len(ROWS) * len(NAMES)


def exercised(asked: Asked, architecture: str) -> list[Outcome]:
    """A cell's operations, as a check judges them; none where there is nothing to ask."""
    outcomes: list[Outcome] = []
    checkers: list[Checker] = []

    def judged(kernel: Kernel, op: Op) -> KernelRefusal | None:
        checkers.append(checkers[0] if checkers else Checker(kernel))
        outcomes.append(checkers[0].apply(op))
        return outcomes[-1].refusal

    asked.outcome(architecture, judged)
    return outcomes


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


@pytest.mark.unmeasured
@pytest.mark.parametrize("faults", [False, True], ids=["plain", "faults"])
@pytest.mark.parametrize("name", ARCHITECTURES.names())
def test_mainline_holds_on_a_walk_on_every_architecture(name: str, faults: bool) -> None:
    geometry = ARCHITECTURES[name]
    request = WalkRequest(
        variant=KernelVariant(), geometry=geometry, faults=faults, seed=5,
        layouts={each: layout(each, geometry) for each in LAYOUTS.names()},
        steps=25 * settings().max_examples,
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


@pytest.mark.parametrize("kind", ["generic", "private", "pci_p2pdma"])
def test_no_device_without_zone_device_changes_anything(kind: str) -> None:
    kernel = machine("ia64")
    before = kernel.fingerprint()
    assert do(kernel, device(C, kind=kind)) == errno.ENXIO
    assert kernel.fingerprint() == before


def test_what_an_architecture_lacks_cannot_be_asked_of_its_boot() -> None:
    with pytest.raises(UserError, match="sh has no sparsemem_vmemmap"):
        replace(layout(), sparsemem_vmemmap=True).validate(GEOMETRIES["tiny_sh"])
    assert not boot("collision", "tiny_sh").layout.sparsemem_vmemmap


# The memory block, while sections brought it

FIRST = "db051a0dac13"
BOTH = PfnRange(C.start_pfn, D.end_pfn)


@pytest.mark.parametrize(("before", "zone"), [((), None), (BEFORE_4_13, ZoneType.ZONE_NORMAL)])
def test_the_first_section_of_a_block_brings_it(before: tuple[str, ...], zone: object) -> None:
    kernel = boot("large-blocks", rules=KernelVariant.named(None, (*before, FIRST)).rules())
    passed = milestones(kernel, add(BOTH))
    assert passed.count("device_add") == 1
    assert "sparse_init_one_section" in passed[passed.index("device_add") :]
    assert "create_memory_block_devices" not in passed
    assert kernel.blocks[1].zone == zone
    assert do(kernel, remove(BOTH)) is None
    assert list(kernel.blocks) == [0]


@pytest.mark.parametrize(("changes", "stays"), [((), False), ((FIRST,), True)])
def test_a_section_whose_block_fails_is_removed_only_today(
    changes: tuple[str, ...], stays: bool
) -> None:
    kernel = machine("x86-64", changes)
    refusal, _ = carry_out(kernel, replace(add(C), fail_at="memory_block"))
    assert refusal is not None
    assert refusal.errno == errno.ENOMEM
    assert 2 not in kernel.blocks
    assert kernel.pfns.within(C, "subsection").any() == stays


# The zone, while memory had one as soon as it was added


def old(name: str = "x86-64") -> Kernel:
    return machine(name, BEFORE_4_13)


def zone_of(kernel: Kernel, pfns: PfnRange) -> str:
    (number,) = set(kernel.pfns.within(pfns, "zone").tolist())
    return ZoneType(number).label


def spans(kernel: Kernel) -> dict[str, PfnRange]:
    zones = {zone.label: kernel.zone(0, zone).span for zone in ZoneType}
    return {label: span for label, span in zones.items() if span.nr_pages}


def test_what_is_added_is_set_up_at_once_and_nobody_s_to_use() -> None:
    kernel = old()
    assert do(kernel, add(C)) is None
    x = kernel.extents()
    assert any(pfns.contains(C) for pfns in x.where(x.initialised & ~x.online_page))
    assert spans(kernel)["Normal"] == PfnRange(2, C.end_pfn)
    assert kernel.zone(0, ZoneType.ZONE_NORMAL).present_pages == 10


def test_the_last_block_of_a_zone_may_go_online_in_the_next() -> None:
    kernel = old()
    assert do(kernel, add(C), online(2, "online_movable")) is None
    assert (zone_of(kernel, C), spans(kernel)["Movable"]) == ("Movable", C)
    assert spans(kernel)["Normal"] == PfnRange(2, C.start_pfn)
    assert do(kernel, offline(2), online(2, "online_kernel")) is None
    assert zone_of(kernel, C) == "Normal"
    assert "Movable" not in spans(kernel)


def test_a_block_in_the_midst_of_its_zone_may_not() -> None:
    kernel = old()
    assert do(kernel, add(C), add(D)) is None
    assert do(kernel, online(2, "online_movable")) == errno.EINVAL
    assert zone_of(kernel, C) == "Normal"
    assert do(kernel, online(2, "online")) is None


def test_no_zone_is_passed_over_that_is_in_use() -> None:
    kernel = old("x86-32")
    assert do(kernel, add(C), online(2, "online_movable")) is None
    assert do(kernel, offline(2), online(2, "online_kernel")) is None
    assert zone_of(kernel, C) == "Normal"
    kernel = old("powerpc")
    assert do(kernel, add(C)) is None
    assert do(kernel, online(2, "online_movable")) == errno.EINVAL


def test_a_zone_shrinks_when_memory_is_removed_not_when_it_goes_offline() -> None:
    kernel = old()
    assert do(kernel, add(C), online(2), offline(2)) is None
    assert spans(kernel)["Normal"] == PfnRange(2, C.end_pfn)
    assert do(kernel, remove(C)) is None
    assert spans(kernel)["Normal"].end_pfn <= C.start_pfn


def test_a_veto_leaves_a_block_in_the_zone_that_it_came_to() -> None:
    kernel = old()
    assert do(kernel, add(C)) is None
    kernel.vetoes = frozenset({NotifierAction.MEM_GOING_ONLINE})
    assert do(kernel, online(2, "online_movable")) == errno.EPERM
    assert (zone_of(kernel, C), kernel.blocks[2].zone) == ("Movable", ZoneType.ZONE_MOVABLE)


def test_what_cannot_get_its_block_leaves_its_zone() -> None:
    kernel = old()
    refusal, _ = carry_out(kernel, replace(add(C), fail_at="memory_block"))
    assert refusal is not None
    # The hole behind the RAM is valid, and links to the zone: it is the last page now.
    assert spans(kernel)["Normal"] == PfnRange(2, C.start_pfn)


def test_a_device_gets_its_zone_once() -> None:
    kernel = old()
    passed = milestones(kernel, device(C))
    assert passed.count("memmap_init_range") == 1
    assert zone_of(kernel, C) == "Device"
    kernel = old()
    assert milestones(kernel, device(C, kind="private")).count("memmap_init_range") == 1


def test_no_block_holds_its_own_memmap_yet() -> None:
    rules = KernelVariant.named(None, BEFORE_4_13).rules()
    kernel = boot("memmap-on-memory", rules=rules)
    assert do(kernel, add(C, mhp_flags=MHP_MEMMAP_ON_MEMORY)) is None
    assert kernel.blocks[2].altmap is None


def test_s390_gives_memory_to_the_zone_that_spans_it() -> None:
    kernel = old("s390")
    assert do(kernel, offline(0)) == errno.EINVAL
    assert arch_zone(kernel, PfnRange(8, 16), 0, MemoryClass.SYSTEM_RAM) == ZoneType.ZONE_NORMAL
    assert arch_zone(kernel, C, 0, MemoryClass.SYSTEM_RAM) == ZoneType.ZONE_MOVABLE


def test_high_memory_is_told_from_what_is_below_it_by_its_zone_alone() -> None:
    checker = Checker(boot(geometry="tiny_x86_32"), strict=True)
    assert do(checker.kernel, add(C), online(2, "online_movable")) is None
    assert checker.look(QUIESCENT) == []
    assert do(checker.kernel, add(D), online(3, "online_kernel")) is None
    (violation,) = checker.look(QUIESCENT)
    assert (violation.invariant, violation.pfns) == ("kernel_zones_are_in_the_linear_map", (D,))
