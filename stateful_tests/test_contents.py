"""Readers of memory that follow page tables: what they come to, and what they may not."""

from __future__ import annotations

import pytest

from hotplug_model.checker import QUIESCENT, Checker
from hotplug_model.flags import LinearMap
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.pfn import PfnRange
from hotplug_model.walkers.contents import CONTENTS
from stateful_tests.kernels import HOLE, C, add, boot, device, do, offline, online

READ = "memory_is_read_through_the_linear_map"
each_reader = pytest.mark.parametrize("name", CONTENTS.names())


def reads(kernel: Kernel, name: str, pfns: PfnRange) -> bool:
    """Whether a reader comes to some of *pfns*."""
    x = kernel.extents()
    return any(part.overlaps(pfns) for part in x.where(CONTENTS[name](x)))


def after(*ops: Op) -> Kernel:
    kernel = boot()
    assert do(kernel, *ops) is None
    return kernel


@each_reader
def test_ram_is_read_from_when_it_is_online_until_it_is_not(name: str) -> None:
    kernel = after(add(C))
    assert not reads(kernel, name, C)
    assert do(kernel, online(2)) is None
    assert reads(kernel, name, C)
    assert do(kernel, offline(2)) is None
    assert not reads(kernel, name, C)


@pytest.mark.parametrize("kind", ["fs_dax", "coherent"])
def test_a_copy_reads_a_device_that_a_process_maps_and_ksm_does_not(kind: str) -> None:
    kernel = after(device(HOLE, kind=kind))
    assert reads(kernel, "wp_page_copy", HOLE)
    assert not reads(kernel, "ksm_do_scan", HOLE)
    assert do(kernel, MemunmapPages(0)) is None
    assert not reads(kernel, "wp_page_copy", HOLE)


@each_reader
def test_nobody_reads_private_memory(name: str) -> None:
    assert not reads(after(device(HOLE, kind="private")), name, HOLE)


def test_a_device_without_a_linear_map_is_a_fault_of_who_copies_it() -> None:
    kernel = after(device(HOLE))
    kernel.pfns.write(HOLE, linear_map=LinearMap.NONE)
    found = {v.invariant: v.pfns for v in Checker(kernel).look(QUIESCENT)}
    assert found[READ] == (HOLE,)


def test_private_memory_without_one_is_none() -> None:
    found = {v.invariant for v in Checker(after(device(HOLE, kind="private"))).look(QUIESCENT)}
    assert READ not in found
