"""What an architecture came to know in which release, and where that is a reason to refuse."""

from __future__ import annotations

import errno

import pytest

from hotplug_model.architectures import ARCHITECTURES
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.invariants.requests import ANSWERS
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from stateful_tests.kernels import C, add, device, do, layout, offline, online, remove

CAME_IN = [("powerpc", "4.12", "4.13"), ("arm64", "5.6", "5.7"), ("s390", "6.14", None)]
"""Architectures, the last release without ZONE_DEVICE, and the first with it, or mainline."""


def of_release(name: str, release: str | None) -> Kernel:
    """What a machine of that release can be asked about."""
    geometry = GEOMETRIES[ARCHITECTURES[name]]
    rules = KernelVariant.named(release, ()).rules()
    return Kernel.boot(geometry, rules, layout("collision", ARCHITECTURES[name]))


def reasons(kernel: Kernel, op: Op) -> set[int]:
    """Errnos that the machine gives a reason for."""
    return set(ANSWERS[op.op_name()].reasons(kernel, op.arguments()))


@pytest.mark.parametrize(("name", "last", "first"), CAME_IN)
def test_zone_device_comes_to_an_architecture_with_a_release(
    name: str, last: str, first: str | None
) -> None:
    kernel = of_release(name, last)
    before = kernel.fingerprint()
    assert do(kernel, device(C)) == errno.ENXIO
    assert kernel.fingerprint() == before
    assert do(of_release(name, first), device(C)) is None
    assert do(of_release("x86-64", "4.9"), device(C)) is None


def test_arm64_adds_memory_since_5_0_and_removes_it_since_5_7() -> None:
    kernel = of_release("arm64", "4.20")
    before = kernel.fingerprint()
    assert do(kernel, add(C)) == errno.ENOENT
    assert kernel.fingerprint() == before
    for release, refused in (("5.0", True), ("5.6", True), ("5.7", False)):
        checker = Checker(of_release("arm64", release), strict=True)
        kernel = checker.kernel
        assert do(kernel, add(C), online(2)) is None
        outcome = checker.apply(offline(2))
        assert (outcome.refusal is not None) == refused
        assert do(of_release("arm64", release), add(C), remove(C)) == (
            errno.EBUSY if refused else None
        )


@pytest.mark.parametrize(("name", "last", "first"), CAME_IN)
def test_no_zone_device_is_a_reason_only_where_there_is_none(
    name: str, last: str, first: str | None
) -> None:
    for release in (last, first):
        kernel = of_release(name, release)
        reason = errno.ENXIO in reasons(kernel, device(C))
        assert reason == (release == last)


def test_that_nothing_is_removed_is_a_reason_only_where_it_is_so() -> None:
    for release, reason in (("5.0", True), ("5.6", True), ("5.7", False), (None, False)):
        kernel = of_release("arm64", release)
        assert errno.ENOENT not in reasons(kernel, add(C))
        assert (errno.EBUSY in reasons(kernel, remove(C))) == reason
        assert do(kernel, add(C), online(2)) is None
        assert (errno.EINVAL in reasons(kernel, offline(2))) == reason
    assert errno.ENOENT in reasons(of_release("arm64", "4.20"), add(C))
