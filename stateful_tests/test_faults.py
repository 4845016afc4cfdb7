"""Allocations that fail: which there are, how each ends, and what is drawn of them."""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import replace

import pytest

from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import KernelVariant
from hotplug_model.check import CheckRequest, check
from hotplug_model.checker import Checker, carry_out
from hotplug_model.coverage import Coverage
from hotplug_model.errors import KernelRefusal, UserError
from hotplug_model.fates import EVERYWHERE, FATES, GONE, known_pairs
from hotplug_model.flags import MHP_MEMMAP_ON_MEMORY, MappingLevel
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.machine import PackedChooser
from hotplug_model.minimise import minimise, simpler_faults
from hotplug_model.mm.arch_memory import ARCH_MEMORY
from hotplug_model.ops import OPS, drawn_ops
from hotplug_model.ops.every import every_fault
from hotplug_model.ops.faults import UNASKED, WISHES, allocations, candidates, draw_with_fault
from hotplug_model.ops.memory_hotplug import AddMemory
from hotplug_model.pfn import PfnRange
from hotplug_model.report.counterexample import page
from hotplug_model.settings import Profile
from hotplug_model.state.faults import Allocation, Faults, parse, spell
from stateful_tests.fate_search import fates
from stateful_tests.kernels import C, add, boot, device, layout, pages
from stateful_tests.traces import collision, recorded

pytestmark = pytest.mark.unmeasured

LAYOUTS_OF: dict[str, tuple[str, ...]] = {
    "tiny_56": ("auto-online", "classic-sparse", "hyper-v"),
    "tiny_powerpc": (
        "two-nodes", "auto-online", "large-blocks", "holes-in-zone", "classic-sparse", "hyper-v",
    ),
    **dict.fromkeys(
        ("tiny_arm64", "tiny_arm64_64k", "tiny_s390"),
        ("memmap-on-memory", "auto-online", "large-blocks", "holes-in-zone", "classic-sparse",
         "hyper-v"),
    ),
    **dict.fromkeys(GONE, ("collision", "auto-online", "hyper-v")),
}  # fmt: skip
"""Layouts on which everything ends that ends on any, where not all are looked at: on ``tiny``
they are."""


# How each ends


def test_every_geometry_with_small_numbers_is_looked_at() -> None:
    small = [name for name in GEOMETRIES.names() if name.startswith("tiny")]
    assert sorted((*EVERYWHERE, *GONE)) == sorted(small)
    assert [ARCH_MEMORY[GEOMETRIES[name].arch].zone_device for name in GONE] == [False] * 4


@pytest.mark.parametrize("geometry", [*EVERYWHERE, *GONE])
def test_every_failed_allocation_ends_as_is_known(geometry: str) -> None:
    names = LAYOUTS_OF.get(geometry, tuple(LAYOUTS.names()))
    found, violated = fates([boot(name, geometry) for name in names], depth=1)
    known = {fate for fate, where in FATES.items() if geometry in where}
    assert violated == []
    assert found - known == set()
    assert known - found == set()


@pytest.mark.parametrize(
    ("changes", "flags", "noticed"),
    [
        ((), MHP_MEMMAP_ON_MEMORY, False), (("a2b8d7827f48",), MHP_MEMMAP_ON_MEMORY, True),
        (("a2b8d7827f48",), 0, False),
        (("a2b8d7827f48", "1a8c64e11043"), MHP_MEMMAP_ON_MEMORY, False),
    ],
)  # fmt: skip
def test_a_block_that_cannot_be_registered_has_no_altmap_yet(
    changes: tuple[str, ...], flags: int, noticed: bool
) -> None:
    kernel = boot("memmap-on-memory", rules=KernelVariant.named(None, changes).rules())
    outcome = Checker(kernel).apply(replace(add(C, mhp_flags=flags), fail_at="memory_block"))
    assert str(outcome.refusal) == "-ENOMEM"
    found = {violation.invariant for violation in outcome.violations}
    assert found == ({"altmaps_account_for_what_they_gave"} if noticed else set())


ODD = ("tiny_56", "tiny_arm64_64k")
"""Where any device in a part of a section meets a known defect of mainline."""


@pytest.mark.parametrize("geometry", EVERYWHERE)
def test_a_map_whose_second_range_fails_leaves_nothing(geometry: str) -> None:
    size = GEOMETRIES[geometry].pages_per_subsection
    ends = [GEOMETRIES[geometry].section_pfns(nr).start_pfn for nr in (2, 3)]
    op = device(*(pages(end, end + size) for end in ends))
    made = allocations(boot(geometry=geometry), op)
    assert made[Allocation.PGMAP_ARRAY] == made[Allocation.USAGE] == 2
    for faulty in every_fault(op, made):
        checker = Checker(boot(geometry=geometry))
        outcome = checker.apply(faulty)
        assert outcome.violations == []
        x86 = GEOMETRIES[geometry].arch == "x86"
        stays = {"an-add-that-failed-stays-mapped"} if x86 else set()
        assert geometry in ODD or {v.defect for v in outcome.known} <= stays
        assert refused(outcome.refusal) or outcome.failed == Allocation.VMEMMAP_HUGE


def test_what_fails_is_refused_with_enomem_or_done_without() -> None:
    assert {fate.err for fate in FATES} == {
        0, errno.ENOMEM, errno.EFAULT, errno.EBUSY, errno.EEXIST,
    }  # fmt: skip
    busy = {(fate.operation, fate.allocation) for fate in FATES if fate.err == errno.EBUSY}
    assert busy == {
        ("offline_and_remove_memory", Allocation.NOTIFIER), ("dax_kmem_probe", Allocation.RESOURCE)
    }  # fmt: skip
    taken = {fate.allocation for fate in FATES if fate.err == errno.EEXIST}
    assert taken == {Allocation.RESOURCE}
    faulting = {fate.allocation for fate in FATES if fate.err == errno.EFAULT}
    assert faulting == {Allocation.LINEAR_MAP}
    absorbed = {(fate.operation, fate.allocation) for fate in FATES if not fate.err}
    lenders = ("virtio_mem_request", "hot_add_req")
    lent = {(name, kind) for name, kind in absorbed if name in lenders}
    assert absorbed - lent == {
        *((name, Allocation.VMEMMAP_HUGE) for name in ("add_memory", "dax_kmem_probe")),
        ("dax_kmem_probe", Allocation.NOTIFIER),
        ("add_memory", Allocation.NOTIFIER),
        ("memremap_pages", Allocation.VMEMMAP_HUGE),
    }


@pytest.mark.parametrize("name", ["virtio_mem_request", "hot_add_req"])
def test_nobody_hears_what_a_guest_could_not_have_and_tries_again(name: str) -> None:
    assert {fate.err for fate in FATES if fate.operation == name} == {0}


def test_every_allocation_that_there_is_fails_somewhere() -> None:
    assert {fate.allocation for fate in FATES} == set(Allocation)


def test_a_huge_page_that_cannot_be_had_is_replaced_by_base_pages() -> None:
    checker = Checker(boot())
    outcome = checker.apply(replace(add(C), fail_at="vmemmap_huge"))
    assert (outcome.refusal, outcome.failed) == (None, Allocation.VMEMMAP_HUGE)
    memmap = checker.kernel.geometry.memmap_of(C)
    assert checker.kernel.vmemmap.at(memmap.start_pfn, "level") == MappingLevel.PTE


# Arming


def test_only_the_one_that_is_armed_fails() -> None:
    faults = Faults()
    faults.arm("vmemmap_page:3")
    assert [faults.grant(Allocation.VMEMMAP_PAGE, 2) for _ in range(3)] == [2, 1, 2]
    assert faults.grant(Allocation.VMEMMAP_HUGE, 9) == 9
    assert faults.failed is Allocation.VMEMMAP_PAGE
    faults.arm("usage")
    assert faults.failed is None
    with pytest.raises(KernelRefusal):
        faults.allocate(Allocation.USAGE)


@pytest.mark.parametrize("fail_at", ["usage", "vmemmap_page:3", f"altmap:{(1 << 20) - 1}"])
def test_what_is_spelled_is_parsed(fail_at: str) -> None:
    assert spell(*parse(fail_at)) == fail_at


@pytest.mark.parametrize("fail_at", ["usage:", "usage:0", "usage:03", "usage:-1", "usage:1048576"])
def test_there_is_one_way_to_spell_it(fail_at: str) -> None:
    with pytest.raises(UserError, match="must end in a number"):
        add_failing(fail_at)


def add_failing(fail_at: str) -> object:
    return AddMemory(0, C, 0, fail_at=fail_at)


@pytest.mark.parametrize("name", drawn_ops())
def test_no_operation_takes_a_fault_that_does_not_exist(name: str) -> None:
    kernel = boot("hyper-v" if name == "hot_add_req" else "collision")
    if name == "dax_kmem_remove":
        carry_out(kernel, OPS["dax_kmem_probe"].draw(kernel, PackedChooser(0)))
    for earlier in ("add_memory", "online_memory_block", "memremap_pages", "pin_pages",
                    "pin_user_pages", "request_mem_region", "virtio_mem_probe",
                    "decrease_reservation"):  # fmt: skip
        if not OPS[name].enabled(kernel):
            carry_out(kernel, OPS[earlier].draw(kernel, PackedChooser(0)))
    drawn = OPS[name].draw(kernel, PackedChooser(0))
    with pytest.raises(UserError, match="did you mean usage"):
        replace(drawn, fail_at="usages")


def test_the_fault_is_over_with_the_operation() -> None:
    checker = Checker(boot())
    assert refused(checker.apply(replace(add(C), fail_at="usage")).refusal)
    assert checker.kernel.faults.fail_at is None
    assert checker.apply(add(C)).refusal is None


def refused(refusal: KernelRefusal | None) -> bool:
    return refusal is not None and refusal.errno in (errno.ENOMEM, errno.EFAULT)


def test_a_fault_that_is_not_reached_changes_nothing() -> None:
    outcome = Checker(boot()).apply(replace(add(C), fail_at="usage:7"))
    assert (outcome.refusal, outcome.failed) == (None, None)


def test_the_ledger_knows_the_operation_in_flight() -> None:
    checker = Checker(boot())
    checker.apply(replace(add(C), fail_at="usage"))
    assert str(checker.kernel.ledger.operation).endswith("fail_at=usage)")


# Drawing


def test_the_simplest_draw_has_no_fault() -> None:
    kernel = boot()
    assert draw_with_fault(AddMemory, kernel, PackedChooser(0)).fail_at is None
    assert draw_with_fault(AddMemory, kernel, PackedChooser(UNASKED - 1)).fail_at is None


def test_every_kind_that_the_operation_allocates_is_drawn() -> None:
    kernel = boot()
    drawn = {
        draw_with_fault(AddMemory, kernel, PackedChooser(wish)).fail_at
        for wish in range(UNASKED, WISHES)
    }
    made = allocations(kernel, AddMemory.draw(kernel, PackedChooser(0)))
    assert drawn == {kind.value for kind in made}
    assert len(drawn) > 3


def test_the_first_the_last_and_any_are_candidates() -> None:
    made = Counter({Allocation.USAGE: 1, Allocation.VMEMMAP_PAGE: 9})
    assert candidates(made, PackedChooser(4)) == [
        "usage", "vmemmap_page", "vmemmap_page:8", "vmemmap_page:4"
    ]  # fmt: skip


def test_rehearsing_leaves_the_machine_alone() -> None:
    kernel = boot()
    before = kernel.fingerprint()
    assert allocations(kernel, device(pages(16, 32)))[Allocation.USAGE] == 2
    assert kernel.fingerprint() == before
    assert not kernel.faults.made


def test_an_operation_without_allocations_gets_none() -> None:
    kernel = boot()
    Checker(kernel).apply(device(C))
    unmap = OPS["memunmap_pages"]
    assert {draw_with_fault(unmap, kernel, PackedChooser(n)).fail_at for n in range(WISHES)} == {
        None
    }


# Searching


def searched(*changes: str, faults: bool) -> Coverage:
    request = CheckRequest(
        variant=KernelVariant.named(None, changes),
        geometry="tiny",
        layouts={"collision": layout()},
        profile=Profile(examples=40, steps=20),
        faults=faults,
    )
    return check(request).coverage


def test_a_check_reaches_failing_allocations_only_if_asked() -> None:
    coverage = searched(faults=True)
    assert len(coverage.failed_pairs()) > 5
    assert coverage.failed_pairs() <= known_pairs("tiny")
    assert searched(faults=False).failed_pairs() == set()


def test_large_machines_know_the_pairs_of_small_ones() -> None:
    assert known_pairs("x86_64") == known_pairs("tiny")
    assert known_pairs("s390") == known_pairs("tiny_s390") != known_pairs("tiny")
    arches = {GEOMETRIES[name].arch for name in EVERYWHERE}
    assert all(known_pairs(n) for n, geometry in GEOMETRIES.items() if geometry.arch in arches)


# Minimising and drawing


def test_faults_that_are_not_needed_go() -> None:
    trace = collision()
    (collide,) = trace.events
    failing = replace(add(C), fail_at="resource")
    longer = replace(trace, events=(failing, replace(collide, fail_at="page_table:5")))
    assert minimise(longer) == trace


@pytest.mark.parametrize(
    ("pfns", "fail_at", "earliest"),
    [(pages(16, 30), "vmemmap_page:2", "vmemmap_page"), (pages(16, 32), "usage:1", "usage:1")],
)
def test_a_fault_that_is_needed_fails_as_early_as_it_can(
    pfns: PfnRange, fail_at: str, earliest: str
) -> None:
    event = replace(device(pfns), fail_at=fail_at)
    trace = recorded(replace(collision(), changes=(), strict=True, events=(event,)))
    assert "refusals_leave_the_machine_alone" in trace.violates
    assert minimise(trace).events == (replace(event, fail_at=earliest),)


def test_half_of_the_way_is_tried_first() -> None:
    assert list(simpler_faults("usage:9")) == [None, "usage", "usage:5", "usage:7", "usage:8"]
    assert list(simpler_faults("usage")) == [None]
    assert list(simpler_faults(None)) == []


def test_a_fault_is_drawn_in_its_step() -> None:
    (event,) = collision().events
    trace = replace(collision(), events=(replace(event, fail_at="vmemmap_page:3"),))
    assert any("fails at vmemmap_page:3" in str(line) for line in page(trace, None))
