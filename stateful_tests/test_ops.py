"""Operations as data: drawing, JSON, and one that works and one that is refused of each."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from typing import Any

import pytest

from hotplug_model.boot import LAYOUTS
from hotplug_model.checker import Checker
from hotplug_model.errors import EHWPOISON, ModelError, UserError
from hotplug_model.ops import OPS, Op, drawn_ops, ops_on_request
from hotplug_model.ops.dax_kmem import DaxKmemProbe, DaxKmemRemove
from hotplug_model.ops.hugetlb import AllocPoolHugeFolio, UpdateAndFreeHugetlbFolio
from hotplug_model.ops.hv_balloon import HotAddReq
from hotplug_model.ops.interleave import Interleave
from hotplug_model.ops.memory_block import VetoMemoryNotifier
from hotplug_model.ops.memory_failure import HardOfflinePage
from hotplug_model.ops.memory_hotplug import OfflineAndRemoveMemory
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.ops.pages import PinPages, UnpinPages
from hotplug_model.ops.resource import ReleaseMemRegion, RequestMemRegion
from hotplug_model.ops.user_pages import PinUserPages, UnpinUserPages
from hotplug_model.ops.virtio_mem import VirtioMemProbe, VirtioMemRemove, VirtioMemRequest
from hotplug_model.ops.walk import Walk
from hotplug_model.ops.xen_balloon import DecreaseReservation, IncreaseReservation
from hotplug_model.pfn import PfnRange
from stateful_tests.kernels import (
    HOLE,
    C,
    D,
    Seeded,
    add,
    boot,
    device,
    do,
    offline,
    online,
    pages,
    remove,
    walk,
)

PAGE = pages(0, 1)
PROBE = VirtioMemProbe(C, 0, 2, False)
WORKS: dict[str, tuple[tuple[Op, ...], Op]] = {
    "add_memory": ((), add(C)),
    "remove_memory": ((add(C),), remove(C)),
    "offline_and_remove_memory": ((add(C), online(2)), OfflineAndRemoveMemory(C, False)),
    "online_memory_block": ((add(C),), online(2)),
    "offline_memory_block": ((add(C), online(2)), offline(2)),
    "decrease_reservation": ((), DecreaseReservation(PAGE)),
    "increase_reservation": ((DecreaseReservation(PAGE),), IncreaseReservation(PAGE)),
    "hard_offline_page": ((), HardOfflinePage(0)),
    "veto_memory_notifier": ((), VetoMemoryNotifier(True, True)),
    "memremap_pages": ((), device(HOLE)),
    "memunmap_pages": ((device(HOLE),), MemunmapPages(0)),
    "pin_pages": ((), PinPages(PAGE)),
    "unpin_pages": ((PinPages(PAGE),), UnpinPages(PAGE)),
    "request_mem_region": ((), RequestMemRegion(C)),
    "release_mem_region": ((RequestMemRegion(C),), ReleaseMemRegion(C)),
    "pin_user_pages": ((device(C),), PinUserPages("vfio", pages(16, 17))),
    "unpin_user_pages": (
        (PinUserPages("vfio", PAGE),), UnpinUserPages("vfio", PAGE)
    ),
    "interleave": ((), Interleave((add(C), device(HOLE)), ((0, 3), (1, 2)))),
    "walk": ((), Walk("kpageflags_read", 0)),
    "dax_kmem_probe": ((), DaxKmemProbe((C,), 0)),
    "dax_kmem_remove": ((DaxKmemProbe((C,), 0),), DaxKmemRemove()),
    "virtio_mem_probe": ((), PROBE),
    "virtio_mem_request": ((PROBE,), VirtioMemRequest(4)),
    "virtio_mem_remove": ((PROBE,), VirtioMemRemove()),
    "hot_add_req": ((), HotAddReq(C)),
    "alloc_pool_huge_folio": ((), AllocPoolHugeFolio(pages(4, 8))),
    "update_and_free_hugetlb_folio": (
        (AllocPoolHugeFolio(pages(4, 8)),), UpdateAndFreeHugetlbFolio(pages(4, 8))
    ),
}
BOOTS = {"hot_add_req": "hyper-v"} | dict.fromkeys(ops_on_request(), "hugetlb")
"""Where it works, if not everywhere."""
REFUSED: dict[str, tuple[tuple[Op, ...], Op, int]] = {
    "add_memory": ((add(C),), add(C), errno.EEXIST),
    "remove_memory": ((add(C), online(2)), remove(C), errno.EBUSY),
    "offline_and_remove_memory": (
        (add(C), online(2)), OfflineAndRemoveMemory(C, True), errno.EBUSY
    ),
    "online_memory_block": ((), online(2), errno.ENOENT),
    "offline_memory_block": ((), offline(1), errno.EINVAL),
    "decrease_reservation": ((PinPages(PAGE),), DecreaseReservation(PAGE), errno.EBUSY),
    "increase_reservation": ((), IncreaseReservation(PAGE), errno.EINVAL),
    "hard_offline_page": ((HardOfflinePage(0),), HardOfflinePage(0), EHWPOISON),
    "memremap_pages": ((device(C),), device(D), errno.EBUSY),
    "memunmap_pages": ((), MemunmapPages(0), errno.ENOENT),
    "pin_pages": ((PinPages(PAGE),), PinPages(PAGE), errno.EBUSY),
    "unpin_pages": ((), UnpinPages(PAGE), errno.EINVAL),
    "pin_user_pages": ((), PinUserPages("kvm", PAGE), errno.ENODEV),
    "unpin_user_pages": ((PinPages(PAGE),), UnpinUserPages("vfio", PAGE), errno.EINVAL),
    "request_mem_region": ((add(C),), RequestMemRegion(C), errno.EBUSY),
    "release_mem_region": ((), ReleaseMemRegion(C), errno.ENOENT),
    "dax_kmem_probe": ((DaxKmemProbe((C,), 0),), DaxKmemProbe((D,), 0), errno.EBUSY),
    "dax_kmem_remove": ((), DaxKmemRemove(), errno.ENODEV),
    "virtio_mem_probe": ((PROBE,), VirtioMemProbe(D, 0, 2, False), errno.EINVAL),
    "virtio_mem_request": ((), VirtioMemRequest(4), errno.ENODEV),
    "virtio_mem_remove": ((), VirtioMemRemove(), errno.ENODEV),
    "hot_add_req": ((), HotAddReq(C), errno.ENODEV),
    "alloc_pool_huge_folio": ((), AllocPoolHugeFolio(pages(5, 9)), errno.EINVAL),
    "update_and_free_hugetlb_folio": ((), UpdateAndFreeHugetlbFolio(C), errno.EINVAL),
}  # fmt: skip
NEVER_REFUSED = {"veto_memory_notifier", "interleave", "walk"}


@pytest.mark.parametrize("name", OPS.names())
def test_works(name: str) -> None:
    before, op = WORKS[name]
    assert op.op_name() == name
    kernel = boot(BOOTS.get(name, "collision"))
    assert do(kernel, *before, op) is None
    assert not kernel.locks.any_held


@pytest.mark.parametrize("name", [name for name in OPS.names() if name not in NEVER_REFUSED])
def test_is_refused_and_changes_nothing(name: str) -> None:
    before, op, err = REFUSED[name]
    kernel = boot()
    assert do(kernel, *before) is None
    old = kernel.fingerprint()
    assert do(kernel, op) == err
    assert kernel.fingerprint() == old


def test_an_empty_region_is_refused() -> None:
    assert do(boot(), RequestMemRegion(pages(16, 16))) == errno.EBUSY


def test_pages_outside_online_memory_cannot_be_pinned() -> None:
    for pfns in (C, HOLE, pages(11, 13)):
        assert do(boot(), PinPages(pfns)) == errno.EBUSY


# Drawing


@pytest.mark.unmeasured
@pytest.mark.parametrize("geometry", ["tiny", "small", "x86_64"])
@pytest.mark.parametrize("layout", LAYOUTS.names())
def test_whatever_is_drawn_ends_without_a_contradiction(layout: str, geometry: str) -> None:
    checker = Checker(boot(layout, geometry))
    for op, outcome in walk(checker, 7, 15):
        assert outcome.violations == [], op
        assert not checker.kernel.locks.any_held
        assert checker.kernel.fingerprint() == checker.kernel.snapshot().fingerprint()


def test_drawing_is_decided_by_the_chooser_alone() -> None:
    first, second = ([op for op, _ in walk(Checker(boot()), 11, 15)] for _ in range(2))
    assert first == second


def test_drawing_changes_nothing() -> None:
    checker = Checker(boot())
    for _ in walk(checker, 3, 6):
        before = checker.kernel.fingerprint()
        for name, op in OPS.items():
            if op.enabled(checker.kernel):
                op.draw(checker.kernel, Seeded(len(name)))
        assert checker.kernel.fingerprint() == before


@pytest.mark.unmeasured
def test_every_operation_is_drawn_works_and_is_refused_on_random_walks() -> None:
    drawn: set[str] = set()
    worked: set[str] = set()
    refused: set[str] = set()
    for seed in range(15):
        for op, outcome in walk(Checker(boot("two-nodes" if seed > 2 else "hyper-v")), seed, 30):
            drawn.add(op.op_name())
            (refused if outcome.refusal else worked).add(op.op_name())
    assert drawn == worked == set(drawn_ops())
    assert {"add_memory", "memremap_pages", "offline_memory_block", "remove_memory"} <= refused


@pytest.mark.parametrize("name", drawn_ops() | ops_on_request())
def test_the_simplest_choice_is_always_allowed(name: str) -> None:
    class First:
        """Chooses what shrinking goes to."""

        def index(self, n: int) -> int:
            assert n > 0
            return 0

    kernel = boot(BOOTS.get(name, "collision"))
    before, _ = WORKS[name]
    assert do(kernel, *before) is None
    assert OPS[name].enabled(kernel)
    assert do(kernel, OPS[name].draw(kernel, First())) is None


# As JSON


@pytest.mark.parametrize("name", OPS.names())
def test_json_gives_the_equal_operation_back(name: str) -> None:
    op = WORKS[name][1]
    text = json.dumps(op.to_json())
    assert Op.from_json(json.loads(text)) == op


def test_whatever_is_drawn_survives_json() -> None:
    for layout in ("memmap-on-memory", "two-nodes"):
        for op, _ in walk(Checker(boot(layout)), 5, 25):
            assert Op.from_json(json.loads(json.dumps(op.to_json()))) == op


def wrong(name: str, **fields: Any) -> dict[str, Any]:
    return WORKS[name][1].to_json() | fields


MISTAKES: dict[str, tuple[object, str]] = {
    "no object": (7, "an event must be an object"),
    "no op": ({"pfns": [0, 1]}, "an event must be an object"),
    "an unknown op": ({"op": "add_memroy"}, "did you mean add_memory"),
    "an unknown field": (wrong("add_memory", node=0), "no field 'node'"),
    "what belongs to the class": (wrong("add_memory", weight=9), "no field 'weight'"),
    "a part of a pgmap that there is not": (
        {"op": "memremap_pages", "pgmap_id": 0, "ranges": [[0, 8]], "type": "private", "nid": 0,
         "altmap": [], "vmemmap_shift": 0, "lacks": "ownr", "fail_at": None},
        "did you mean owner",
    ),
    "a missing field": ({"op": "add_memory", "nid": 0, "pfns": [0, 8]}, "'mhp_flags' is missing"),
    "a string for a number": (wrong("add_memory", nid="0"), "expected int, found '0'"),
    "a bool for a number": (wrong("add_memory", nid=True), "expected int, found True"),
    "a number for a bool": (wrong("offline_memory_block", unmovable=0), "expected bool"),
    "a float for a number": (wrong("add_memory", nid=0.0), "expected int"),
    "a number out of range": (wrong("add_memory", nid=1 << 60), "out of range"),
    "a range of three": (wrong("add_memory", pfns=[0, 8, 16]), "a pfn range is"),
    "a range that is no list": (wrong("add_memory", pfns="0-8"), "expected a list"),
    "a list that is too long": (wrong("memremap_pages", ranges=[[0, 8]] * 17), "at most 16"),
    "a list of other things": (wrong("memremap_pages", ranges=[0]), "expected a list"),
    "an unknown online_type": (wrong("online_memory_block", online_type="on"), "online_type"),
    "an unknown pgmap type": (wrong("memremap_pages", type="dax"), "did you mean fs_dax"),
    "an altmap of one number": (wrong("memremap_pages", altmap=[1]), "altmap"),
    "a negative altmap": (wrong("memremap_pages", altmap=[-1, 2]), "altmap"),
    "a map's id too large": (wrong("memremap_pages", pgmap_id=64), "0 to 63"),
    "no size": (wrong("virtio_mem_probe", device_block_pages=0), "must be positive"),
    "no pages": (wrong("hot_add_req", pfns=[4, 4]), "must not be empty"),
    "a negative size": (wrong("virtio_mem_request", requested_pages=-1), "must not be negative"),
    "an empty range to map": (wrong("memremap_pages", ranges=[[8, 8]]), "empty or negative"),
    "one context": (wrong("interleave", contexts=[add(C).to_json()]), "2 to 8 operations"),
    "a context that is none": (wrong("interleave", contexts=[7, 7]), "an event must be"),
    "an interleaving of one": (
        wrong("interleave", contexts=[add(C).to_json(), WORKS["interleave"][1].to_json()]),
        "2 to 8 operations",
    ),
    "a turn of nobody": (wrong("interleave", turns=[[2, 1]]), r"a turn is \[context, mil"),
    "a turn that goes nowhere": (wrong("interleave", turns=[[0, 0]]), "a turn is"),
    "a turn of three": (wrong("interleave", turns=[[0, 1, 1]]), "a turn is"),
    "a fault of nobody": (wrong("interleave", fail_at="usage"), "one of the contexts"),
    "a long string": (wrong("add_memory", nid="x" * 400), r"\.\.\.$"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_named_in_one_line(what: str) -> None:
    event, text = MISTAKES[what]
    with pytest.raises(UserError, match=text) as mistake:
        Op.from_json(event)
    assert "\n" not in str(mistake.value)
    assert len(str(mistake.value)) < 200


# For people


def test_an_operation_prints_as_a_call() -> None:
    assert str(add(C)) == "add_memory(nid=0, pfns=[0x10-0x18), mhp_flags=0)"
    assert str(device(HOLE, C)).startswith("memremap_pages(pgmap_id=0, ranges=([0xc-0x10), [0x10")


def test_an_operation_names_the_ranges_that_it_touches() -> None:
    assert device(HOLE, C).pfns_touched() == [HOLE, C]
    assert add(C).pfns_touched() == [C]
    assert online(2).pfns_touched() == []
    assert Interleave((add(C), device(HOLE)), ()).pfns_touched() == [C, HOLE]


def test_the_base_class_draws_and_does_nothing() -> None:
    with pytest.raises(TypeError, match="has no draw"):
        Op.draw(boot(), Seeded(0))
    with pytest.raises(TypeError, match="has no steps"):
        Op().steps(boot())


def test_a_range_of_a_region_that_a_driver_does_not_hold_is_not_released() -> None:
    kernel = boot()
    assert do(kernel, RequestMemRegion(C), ReleaseMemRegion(PfnRange(16, 20))) == errno.ENOENT
    assert kernel.iomem.named("driver") == [C]


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ModelError, match="already registered"):
        OPS.add("add_memory", OPS["remove_memory"])


def test_what_traces_do_not_know_yet_is_left_out_of_them() -> None:
    usual = MemremapPages(0, (PfnRange(0, 8),), "private", 0, ())
    assert "lacks" not in usual.to_json()
    forgotten = replace(usual, lacks="owner")
    assert forgotten.to_json()["lacks"] == "owner"
    assert [Op.from_json(op.to_json()) for op in (usual, forgotten)] == [usual, forgotten]
