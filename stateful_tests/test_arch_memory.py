"""The linear map: arch_add_memory() and arch_remove_memory() of each architecture."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from hotplug_model import steps
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import QUIESCENT, Checker, carry_out
from hotplug_model.flags import LinearMap, MemoryClass
from hotplug_model.kernel import Kernel
from hotplug_model.mm.arch_memory import ARCH_MEMORY, arch_remove_memory
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.ops import Op
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.pfn import PfnRange
from hotplug_model.state.ledger import Cause, Law
from stateful_tests.kernels import (
    HOLE,
    A,
    B,
    C,
    D,
    add,
    boot,
    device,
    do,
    offline,
    online,
    pages,
    remove,
)

every_arch = pytest.mark.parametrize(
    "arch", [name for name, arch in ARCH_MEMORY.items() if arch.zone_device]
)
"""That knows device memory; see test_architectures.py for the others."""
unwinding = pytest.mark.parametrize("arch", ["arm64", "powerpc", "s390"])
NO, MAPPED, STRAY, TORN = LinearMap.NONE, LinearMap.MAPPED, LinearMap.STRAY, LinearMap.TORN
INSIDE = pages(18, 20)
"""A device in the middle of C."""
RAM, HIDDEN = MemoryClass.SYSTEM_RAM, MemoryClass.UNADDRESSABLE


def on(arch: str) -> str:
    """The tiny geometry of an architecture."""
    return "tiny" if arch == "x86" else f"tiny_{arch}"


def states(kernel: Kernel, pfns: PfnRange) -> set[int]:
    return set(kernel.pfns.within(pfns, "linear_map").tolist())


def after(arch: str, *ops: Op) -> Kernel:
    kernel = boot(geometry=on(arch))
    do(kernel, *ops)
    return kernel


@every_arch
def test_boot_maps_ram_and_no_hole(arch: str) -> None:
    kernel = boot(geometry=on(arch))
    assert states(kernel, A) == states(kernel, pages(8, 12)) == {MAPPED}
    assert states(kernel, HOLE) == states(kernel, C) == {NO}
    assert set(kernel.pfns.within(A, "memory").tolist()) == {RAM}


@every_arch
@pytest.mark.parametrize("kind", ["fs_dax", "generic", "coherent", "pci_p2pdma"])
def test_device_memory_that_the_cpu_reaches_is_mapped_and_unmapped(arch: str, kind: str) -> None:
    kernel = boot(geometry=on(arch))
    refusal = do(kernel, device(HOLE, kind=kind))
    if (arch, kind) == ("s390", "pci_p2pdma"):
        assert (refusal, states(kernel, HOLE)) == (errno.EINVAL, {NO})
        return
    assert states(kernel, HOLE) == {MAPPED}
    assert do(kernel, MemunmapPages(0)) is None
    assert states(kernel, HOLE) == {NO}
    assert set(kernel.pfns.within(HOLE, "memory").tolist()) == {MemoryClass.NONE}


@every_arch
def test_private_memory_has_struct_pages_and_no_mapping(arch: str) -> None:
    kernel = after(arch, device(C, kind="private"))
    assert states(kernel, C) == {NO}
    assert set(kernel.pfns.within(C, "memory").tolist()) == {HIDDEN}
    assert kernel.pfns.within(C, "subsection").all()


@every_arch
def test_ram_is_mapped_while_it_is_there_whether_or_not_it_is_online(arch: str) -> None:
    kernel = after(arch, add(C))
    assert states(kernel, C) == {MAPPED}
    assert do(kernel, online(2), offline(2)) is None
    assert states(kernel, C) == {MAPPED}
    assert do(kernel, remove(C)) is None
    assert states(kernel, C) == {NO}


@unwinding
def test_an_add_that_fails_is_unmapped(arch: str) -> None:
    assert states(after(arch, device(pages(17, 19))), C) == {NO}


@pytest.mark.parametrize("arch", ["arm64", "powerpc", "s390"])
def test_a_section_that_a_failed_add_left_behind_is_unmapped_with_the_others(arch: str) -> None:
    kernel = boot(geometry=on(arch))
    refusal, _ = carry_out(kernel, replace(add(pages(16, 32)), fail_at="usage:1"))
    assert refusal is not None
    assert (states(kernel, C), states(kernel, D)) == ({TORN}, {NO})


@pytest.mark.parametrize("changes", [(), ("ca2c36cae9d4",)])
def test_powerpc_unmaps_what_it_failed_to_add_since_5_11(changes: tuple[str, ...]) -> None:
    rules = KernelVariant.named(None, changes).rules()
    kernel = boot(geometry="tiny_powerpc", rules=rules)
    assert do(kernel, device(INSIDE), add(C)) == errno.EEXIST
    assert states(kernel, INSIDE) == ({MAPPED} if changes else {TORN})
    assert states(kernel, pages(20, 24)) == ({STRAY} if changes else {NO})


def test_private_memory_that_stays_mapped_is_a_known_defect_of_x86_only() -> None:
    hidden = device(INSIDE, kind="private")
    for arch, changes in (("x86", ()), ("powerpc", ("ca2c36cae9d4",))):
        checker = Checker(boot(geometry=on(arch), rules=KernelVariant.named(None, changes).rules()))
        found = {v.invariant for op in (hidden, add(C)) for v in checker.apply(op).violations}
        lasting = {"unaddressable_memory_is_not_mapped", "the_linear_map_ends_with_its_memory"}
        assert found == (set() if arch == "x86" else lasting)


def test_on_x86_an_add_that_fails_stays_mapped_until_the_memory_comes_and_goes() -> None:
    kernel = after("x86", device(pages(17, 19)))
    assert states(kernel, pages(17, 19)) == {STRAY}
    assert do(kernel, add(C)) is None
    assert states(kernel, C) == {MAPPED}
    assert do(kernel, remove(C)) is None
    assert states(kernel, C) == {NO}


@unwinding
def test_unwinding_unmaps_whoever_made_the_add_fail(arch: str) -> None:
    kernel = after(arch, device(INSIDE), add(C))
    assert states(kernel, INSIDE) == {TORN}
    assert states(kernel, pages(20, 24)) == {NO}


def test_on_x86_whoever_made_the_add_fail_stays_mapped() -> None:
    kernel = after("x86", device(INSIDE), add(C))
    assert states(kernel, INSIDE) == {MAPPED}
    assert states(kernel, pages(20, 24)) == {STRAY}


def test_on_x86_private_memory_inside_of_an_add_that_fails_gets_mapped() -> None:
    kernel = after("x86", device(INSIDE, kind="private"), add(C))
    assert states(kernel, INSIDE) == {STRAY}


@unwinding
def test_private_memory_inside_of_an_add_that_fails_is_not_mapped_in_the_end(arch: str) -> None:
    assert states(after(arch, device(INSIDE, kind="private"), add(C)), INSIDE) == {NO}


@pytest.mark.parametrize(
    ("arch", "err"),
    [("x86", None), ("arm64", None), ("powerpc", errno.EFAULT), ("s390", errno.ENOMEM)],
)
def test_a_mapping_that_fails_is_refused_where_anybody_is_told(arch: str, err: int | None) -> None:
    for op in (add(C), device(C)):
        kernel = boot(geometry=on(arch))
        before = kernel.fingerprint()
        refusal, _ = carry_out(kernel, replace(op, fail_at="linear_map"))
        assert (None if refusal is None else refusal.errno) == err
        assert (kernel.fingerprint() == before) == (err is not None)


def test_private_memory_needs_no_mapping_that_could_fail() -> None:
    op = replace(device(C, kind="private"), fail_at="linear_map")
    assert carry_out(boot(geometry="tiny_powerpc"), op) == (None, None)


def test_arm64_before_5_7_unmaps_nothing() -> None:
    rules = replace(MAINLINE, arm64_unmaps_linear_map=False)
    kernel = boot(geometry="tiny_arm64", rules=rules)
    assert do(kernel, add(C), remove(C)) is None
    assert states(kernel, C) == {MAPPED}
    assert do(kernel, device(pages(25, 27))) == errno.EINVAL
    assert states(kernel, pages(25, 27)) == {STRAY}


def breaches(kernel: Kernel) -> list[tuple[Law, Cause]]:
    return [(entry.law, entry.cause) for entry in kernel.ledger.breaches]


def test_who_is_removed_after_a_neighbour_was_unwound_is_not_to_blame() -> None:
    kernel = after("arm64", device(INSIDE), add(C))
    assert do(kernel, MemunmapPages(0)) is None
    assert breaches(kernel) == [(Law.REMOVED_AS_ANOTHER_CLASS, Cause.UNWOUND)]


def test_device_memory_that_is_removed_as_ram_is_told_from_it() -> None:
    kernel = after("x86", device(INSIDE))
    assert do(kernel, remove(C)) is None
    assert breaches(kernel) == [(Law.REMOVED_AS_ANOTHER_CLASS, Cause.NONE)]
    assert kernel.ledger.breaches[0].pfns == INSIDE


def test_holes_of_boot_are_removed_with_the_ram_beside_them() -> None:
    kernel = boot()
    assert steps.run(arch_remove_memory(kernel, B, RAM, None)) is None
    assert breaches(kernel) == []
    assert states(kernel, B) == {NO}


# The flags that were proposed


def proposed(name: str) -> Kernel:
    return boot(rules=KernelVariant.named(None, (name,)).rules())


def test_as_posted_nobody_takes_unaddressable_memory_and_nothing_changes() -> None:
    kernel = proposed("seed003-unaddressable")
    before = kernel.fingerprint()
    assert do(kernel, device(C, kind="private")) == errno.EINVAL
    assert kernel.fingerprint() == before
    assert do(kernel, device(C), add(D)) is None


def test_ram_with_device_flags_is_read_where_nothing_is_mapped_once_it_is_online() -> None:
    checker = Checker(proposed("seed003-flags-on-ram"))
    assert do(checker.kernel, add(C), online(2)) is None
    found = {v.invariant for v in checker.look(QUIESCENT)}
    assert found == {"addressable_memory_is_mapped", "memory_is_read_through_the_linear_map"}


def test_flags_that_are_wrong_twice_are_no_difference() -> None:
    kernel = proposed("seed003")
    assert do(kernel, device(C, kind="private"), MemunmapPages(0)) is None
    assert breaches(kernel) == []
    assert states(kernel, C) == {NO}
