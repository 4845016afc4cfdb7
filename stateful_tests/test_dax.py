"""Device memory as System RAM, and the namespaces of persistent memory."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from hotplug_model import steps
from hotplug_model.checker import Checker
from hotplug_model.errors import UserError
from hotplug_model.flags import BlockState
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.mm.dax_kmem import dax_kmem_range, dev_dax_kmem_probe, dev_dax_kmem_remove
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.ops.dax_kmem import DaxKmemProbe, DaxKmemRemove
from hotplug_model.ops.draw import empty_blocks, free_ranges, unlent_blocks, window_blocks
from hotplug_model.ops.resource import RequestMemRegion
from hotplug_model.ops.virtio_mem import VirtioMemProbe
from hotplug_model.pfn import PfnRange
from hotplug_model.recorded.pmem import DRIVER_PGMAP, LEGACY, NFIT, Pmem
from hotplug_model.state.resource import KMEM, KMEM_LEFT, SYSTEM_RAM
from hotplug_model.together import may_meet
from hotplug_model.walk import SeededChooser
from stateful_tests.kernels import (
    A,
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
    settle,
)

ODD = pages(18, 32)
"""Most of C and all of D: one whole memory block."""
PMEM = PfnRange(0x108000, 0x118000)
"""Two sections of x86-64."""


def errno_of(kernel: Kernel, request: steps.Steps) -> int | None:
    refusal = steps.run(request)
    settle(kernel)
    return None if refusal is None else refusal.errno


def test_whole_memory_blocks_become_ram_and_the_rest_is_lost() -> None:
    kernel = boot()
    assert dax_kmem_range(kernel, ODD) == D
    assert errno_of(kernel, dev_dax_kmem_probe(kernel, (ODD,), 0)) is None
    assert kernel.iomem.system_ram(ODD) == D.nr_pages
    assert kernel.blocks[3].state == BlockState.MEM_OFFLINE
    assert 2 not in kernel.blocks


def test_a_device_that_fills_no_block_is_refused_and_nothing_changes() -> None:
    kernel = boot()
    before = kernel.fingerprint()
    assert errno_of(kernel, dev_dax_kmem_probe(kernel, (pages(18, 30),), 0)) == errno.EINVAL
    assert kernel.fingerprint() == before


def test_ram_of_a_device_goes_as_it_came() -> None:
    kernel = boot()
    before = kernel.fingerprint()
    assert errno_of(kernel, dev_dax_kmem_probe(kernel, (ODD,), 0)) is None
    assert errno_of(kernel, dev_dax_kmem_remove(kernel)) is None
    assert kernel.fingerprint() == before


def test_ram_that_is_online_stays_for_good_though_the_driver_goes() -> None:
    kernel = boot()
    assert do(kernel, DaxKmemProbe((ODD,), 0), online(3), DaxKmemRemove()) is None
    assert kernel.iomem.named(SYSTEM_RAM)[-1] == D
    assert kernel.iomem.named(KMEM_LEFT) == [D]
    assert do(kernel, DaxKmemRemove()) == errno.ENODEV
    assert do(kernel, offline(3)) is None
    assert 3 in window_blocks(kernel)
    assert 3 not in unlent_blocks(kernel)
    assert do(kernel, DaxKmemProbe((ODD,), 0)) == errno.EBUSY


def test_a_range_that_cannot_be_had_is_left_out_if_another_was_added() -> None:
    kernel = boot()
    assert do(kernel, DaxKmemProbe((D, A, C), 0)) is None
    assert kernel.iomem.named(KMEM) == [C, D]
    assert do(kernel, DaxKmemRemove()) is None
    assert kernel.fingerprint() == boot().fingerprint()
    assert do(kernel, DaxKmemProbe((A, C), 0)) == errno.EBUSY
    assert kernel.fingerprint() == boot().fingerprint()


def test_a_range_that_cannot_be_added_gives_its_region_back() -> None:
    kernel = boot()
    assert do(kernel, device(C)) is None
    before = kernel.fingerprint()
    assert do(kernel, DaxKmemProbe((C,), 0)) == errno.EEXIST
    assert kernel.fingerprint() == before
    assert do(kernel, DaxKmemProbe((D, C), 0)) is None
    assert kernel.iomem.named(KMEM) == [D]


def test_of_two_ranges_only_what_is_offline_goes() -> None:
    kernel = boot()
    assert do(kernel, DaxKmemProbe((C, D), 0), online(2), DaxKmemRemove()) is None
    assert (kernel.iomem.named(KMEM_LEFT), kernel.iomem.named(KMEM)) == ([C], [])
    assert 3 not in kernel.blocks
    assert do(kernel, add(D)) is None


def test_no_device_is_drawn_where_a_hypervisor_lends_memory() -> None:
    kernel = boot()
    assert do(kernel, VirtioMemProbe(C, 0, 2, True)) is None
    drawn = [DaxKmemProbe.draw(kernel, SeededChooser(1, n)).ranges for n in range(200)]
    assert any(len(ranges) > 1 for ranges in drawn)
    added = [dax_kmem_range(kernel, pfns) for ranges in drawn for pfns in ranges]
    assert not any(pfns.nr_pages > 0 and pfns.overlaps(C) for pfns in added)


def test_nobody_else_draws_what_the_driver_has() -> None:
    kernel = boot()
    assert do(kernel, DaxKmemProbe((C,), 0)) is None
    assert not any(C.overlaps(pfns) for pfns in free_ranges(kernel))
    assert 2 not in {*unlent_blocks(kernel), *empty_blocks(kernel)}
    assert not may_meet(DaxKmemProbe((C,), 0), add(C))
    assert may_meet(DaxKmemProbe((C,), 0), add(D))
    assert may_meet(DaxKmemRemove(), online(2))
    assert not may_meet(device(D), DaxKmemRemove())


def test_a_range_of_a_device_is_not_empty() -> None:
    with pytest.raises(UserError, match="empty or negative"):
        DaxKmemProbe((pages(16, 16),), 0)


# Namespaces


def machine(name: str = NFIT) -> Kernel:
    """x86-64 with a region of persistent memory."""
    made = replace(layout("collision", "x86_64"), firmware=((name, PMEM),))
    return Kernel.boot(GEOMETRIES["x86_64"], MAINLINE, made)


def run(kernel: Kernel, pmem: Pmem, *commands: str) -> None:
    for command in commands:
        for request in pmem.command(command) or []:
            assert steps.run(request(kernel)) is None


FREE = "ndctl destroy-namespace -f namespace0.0; ndctl disable-namespace namespace0.0"
MODES = {
    "devdax -M mem": ("MEMORY_DEVICE_GENERIC", 9, None),
    "devdax -M dev": ("MEMORY_DEVICE_GENERIC", 9, (2, 1534)),
    "fsdax -M mem": ("MEMORY_DEVICE_FS_DAX", 0, None),
    "fsdax -M dev": ("MEMORY_DEVICE_FS_DAX", 0, (2, 1534)),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_namespace_is_a_map_of_its_mode(mode: str) -> None:
    kernel = machine()
    pmem = Pmem.of(kernel, has_kmem=True)
    run(kernel, pmem, FREE, f"ndctl create-namespace -m {mode} -r region0")
    pgmap = kernel.pgmaps[DRIVER_PGMAP]
    altmap = (pgmap.altmap.reserve, pgmap.altmap.free) if pgmap.altmap else None
    assert (pgmap.type.name, pgmap.vmemmap_shift, altmap) == MODES[mode]
    assert pgmap.ranges == (PMEM,)


def test_a_raw_namespace_has_struct_pages_on_e820_memory_only() -> None:
    assert [len(Pmem.of(machine(name), True).bind_raw()) for name in (LEGACY, NFIT)] == [1, 0]


def test_a_full_region_has_no_room_for_another_namespace() -> None:
    kernel = machine()
    pmem = Pmem.of(kernel, has_kmem=True)
    run(kernel, pmem, "ndctl create-namespace -m devdax -M mem -r region0")
    assert kernel.pgmaps == {}
    run(kernel, pmem, "ndctl create-namespace -e namespace0.0 -m devdax -M mem")
    assert list(kernel.pgmaps) == [DRIVER_PGMAP]


def test_a_dax_device_becomes_ram_and_a_dax_device_again() -> None:
    kernel = machine()
    pmem = Pmem.of(kernel, has_kmem=True)
    run(kernel, pmem, FREE, "ndctl create-namespace -m devdax -M dev -r region0")
    mapped = kernel.pfns.copy()
    run(kernel, pmem, "daxctl reconfigure-device --mode=system-ram dax0.0")
    assert kernel.pgmaps == {}
    assert kernel.iomem.system_ram(PMEM) == kernel.pages_per_block
    run(kernel, pmem, "daxctl reconfigure-device --mode=devdax dax0.0")
    kernel.pfns.merge()
    mapped.merge()
    assert kernel.pfns.fingerprint() == mapped.fingerprint()


def test_only_force_takes_online_ram_back() -> None:
    kernel = machine()
    pmem = Pmem.of(kernel, has_kmem=True)
    run(kernel, pmem, FREE, "ndctl create-namespace -m devdax -M dev -r region0")
    run(kernel, pmem, "daxctl reconfigure-device --mode=system-ram dax0.0")
    (block_id,) = kernel.blocks_in(PMEM)
    assert do(kernel, online(block_id, "online_movable")) is None
    run(kernel, pmem, "daxctl reconfigure-device --mode=devdax dax0.0")
    assert kernel.blocks[block_id].state == BlockState.MEM_ONLINE
    run(kernel, pmem, "daxctl reconfigure-device --mode=devdax -f dax0.0")
    assert block_id not in kernel.blocks
    assert list(kernel.pgmaps) == [DRIVER_PGMAP]


def test_without_kmem_the_device_is_unbound_for_good() -> None:
    kernel = machine()
    pmem = Pmem.of(kernel, has_kmem=False)
    run(kernel, pmem, FREE, "ndctl create-namespace -m devdax -M mem -r region0")
    for mode in ("system-ram", "devdax -f"):
        run(kernel, pmem, f"daxctl reconfigure-device --mode={mode} dax0.0")
        assert kernel.pgmaps == {}
        assert kernel.blocks_in(PMEM) == []


def test_there_is_no_namespace_without_a_region() -> None:
    kernel = boot()
    pmem = Pmem.of(kernel, has_kmem=True)
    with pytest.raises(UserError, match="no translation here"):
        pmem.command("ndctl create-namespace -m devdax -M mem")
    with pytest.raises(UserError, match="no dax device"):
        pmem.command("daxctl reconfigure-device --mode=system-ram dax0.0")
    assert pmem.command("true") is None


def test_a_device_on_no_node_is_refused() -> None:
    assert do(boot(), DaxKmemProbe((C,), -1)) == errno.EINVAL


@pytest.mark.parametrize(
    ("fail_at", "err"), [("resource", errno.EBUSY), ("resource:1", errno.EEXIST)]
)
def test_no_memory_for_a_region_looks_like_somebody_who_has_it(fail_at: str, err: int) -> None:
    kernel = boot()
    checker = Checker(kernel)
    outcome = checker.apply(DaxKmemProbe((C,), 0, fail_at=fail_at))
    assert outcome.refusal is not None
    assert outcome.refusal.errno == err
    assert outcome.violations == []
    assert kernel.iomem.named(KMEM) == []


def test_a_region_claimed_meanwhile_outlives_the_driver() -> None:
    kernel = boot()
    assert do(kernel, DaxKmemProbe((C,), 0)) is None
    for at in DaxKmemRemove().steps(kernel):
        if at == "remove_memory":
            assert do(kernel, RequestMemRegion(pages(16, 18))) is None
    assert kernel.iomem.is_claimed(pages(16, 18))
    assert do(kernel, RequestMemRegion(pages(17, 19))) == errno.EBUSY
