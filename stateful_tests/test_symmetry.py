"""Renumbering: what may be renumbered has the same future, what may not has another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from hotplug_model.boot import BootLayout
from hotplug_model.checker import carry_out
from hotplug_model.explore import Expander, Exploration, Space
from hotplug_model.flags import OnlineType
from hotplug_model.geometry import TINY
from hotplug_model.kernel import Kernel
from hotplug_model.ops import OPS, Op
from hotplug_model.ops.every import every_op, kinds_named
from hotplug_model.ops.memremap import MemremapPages
from hotplug_model.ops.virtio_mem import VirtioMemProbe
from hotplug_model.symmetry import (
    BLIND_TO_PLACE,
    Renumbering,
    canonical,
    equal_sections,
    renumbered,
)
from hotplug_model.trace import Trace, broken
from stateful_tests.kernels import A, B, C, D, Seeded, add, boot, device, do, layout, online, pages

NODES = replace(layout(), nodes=3)
"""All RAM on node 0: nothing tells nodes 1 and 2 apart."""
SWAP_MAPS = Renumbering(pgmaps={0: 2, 1: 0, 2: 3, 3: 1})
SWAP_NODES = Renumbering(nodes={1: 2, 2: 1})
SWAP_SECTIONS = Renumbering(sections={2: 3, 3: 2})
BLIND = tuple(cls.op_name() for cls in OPS if cls in BLIND_TO_PLACE)
UNCHANGED = Renumbering()


def walk(kernel: Kernel, kinds: tuple[str, ...], unusual: int, seed: int) -> Iterator[Op]:
    """Operations drawn at random, the usual ones only if *unusual* is 0; 25 of them."""
    choose = Seeded(seed)
    for _ in range(25):
        ops = [op for cls in kinds_named(kinds) for op in every_op(kernel, (cls,), unusual)]
        yield ops[choose.index(len(ops))]


def errno_of(kernel: Kernel, op: Op) -> int | None:
    refusal, _ = carry_out(kernel, op)
    return refusal.errno if refusal else None


def told_apart(of: BootLayout, to: Renumbering, kinds: tuple[str, ...], unusual: int) -> list[Op]:
    """Operations that do not do to a renumbered machine what they do to the other."""
    wrong = []
    for seed in range(4):
        kernel = boot(of)
        for op in walk(kernel, kinds, unusual, seed):
            twin, same = renumbered(kernel, to), to.op(TINY, op)
            refused = errno_of(kernel, op)
            if same is None or errno_of(twin, same) != refused:
                wrong.append(op)
                continue
            one, other = renumbered(kernel, to), renumbered(twin, UNCHANGED)
            if one.fingerprint() != other.fingerprint():
                wrong.append(op)
    return wrong


@pytest.mark.unmeasured
@pytest.mark.parametrize("name", ["collision", "stale", "memmap-on-memory"])
def test_no_operation_looks_at_the_id_of_a_map(name: str) -> None:
    assert told_apart(layout(name), SWAP_MAPS, (), 0) == []


@pytest.mark.unmeasured
def test_no_operation_tells_nodes_without_boot_memory_apart() -> None:
    assert told_apart(NODES, SWAP_NODES, (), 0) == []


def test_no_operation_that_is_blind_to_place_tells_sections_apart() -> None:
    assert told_apart(layout(), SWAP_SECTIONS, BLIND, 0) == []


@pytest.mark.unmeasured
@pytest.mark.parametrize("kind", ["memremap_pages", "online_memory_block"])
def test_any_other_operation_tells_sections_apart(kind: str) -> None:
    assert told_apart(layout(), SWAP_SECTIONS, (*BLIND, kind), 0) != []


def test_sections_are_equal_only_for_what_cannot_tell_them_apart() -> None:
    def equal(kernel: Kernel, *kinds: str, unusual: int = 0) -> list[int]:
        return equal_sections(kernel, kinds_named(kinds), unusual)

    assert equal(boot(), *BLIND) == [2, 3]
    assert equal(boot()) == equal(boot(), "memremap_pages") == []
    assert equal(boot(), *BLIND, unusual=1) == []
    assert equal(boot(geometry="tiny_56"), *BLIND) == []
    assert equal(boot("large-blocks"), *BLIND) == equal(boot("memmap-on-memory"), *BLIND) == []
    at_once = replace(layout(), memhp_default_state=OnlineType.MMOP_ONLINE)
    assert equal(boot(at_once), *BLIND) == []


def test_a_map_keeps_nothing_of_its_id_in_the_canonical_form() -> None:
    one, other = boot(), boot()
    assert do(one, device(C, pgmap_id=0), device(D, pgmap_id=1)) is None
    assert do(other, device(D, pgmap_id=0), device(C, pgmap_id=3)) is None
    assert one.fingerprint() != other.fingerprint()
    assert canonical(one) == canonical(other)


def test_maps_that_hold_something_else_stay_apart() -> None:
    one, other = boot(), boot()
    assert do(one, device(C, pgmap_id=0), device(D, pgmap_id=1, kind="fs_dax")) is None
    assert do(other, device(C, pgmap_id=0, kind="fs_dax"), device(D, pgmap_id=1)) is None
    assert canonical(one) != canonical(other)


def test_nodes_without_boot_memory_are_numbered_by_what_they_hold() -> None:
    one, other, third = boot(NODES), boot(NODES), boot(NODES)
    assert do(one, add(C, nid=1), add(D, nid=2), online(3, "online_movable")) is None
    assert do(other, add(C, nid=2), add(D, nid=1), online(3, "online_movable")) is None
    assert do(third, add(C, nid=0), add(D, nid=1), online(3, "online_movable")) is None
    assert one.fingerprint() != other.fingerprint()
    assert canonical(one) == canonical(other) != canonical(third)


def test_a_node_is_also_known_by_who_lends_it_memory() -> None:
    one, other, third = boot(NODES), boot(NODES), boot(NODES)
    for kernel, nid in ((one, 1), (other, 2), (third, 0)):
        assert do(kernel, VirtioMemProbe(C, nid, 2, False)) is None
    assert one.fingerprint() != other.fingerprint()
    assert canonical(one) == canonical(other) != canonical(third)


def test_equal_sections_are_sorted_by_what_they_hold() -> None:
    one, other = boot(), boot()
    assert do(one, add(C)) is do(other, add(D)) is None
    assert canonical(one) != canonical(other)
    assert canonical(one, [2, 3]) == canonical(other, [2, 3]) != canonical(boot(), [2, 3])


def test_a_struct_page_in_use_that_names_a_dead_map_keeps_ids_as_they_are() -> None:
    one, other = boot(), boot()
    for kernel, pgmap_id in ((one, 0), (other, 1)):
        assert do(kernel, device(C, pgmap_id=pgmap_id)) is None
        kernel.pfns.write(pages(0, 2), page_pgmap=2)
    assert canonical(one) != canonical(other)


def test_an_operation_whose_range_is_torn_apart_has_no_counterpart() -> None:
    far = Renumbering(sections={1: 3, 3: 1})
    both = MemremapPages(0, (pages(12, 24),), "generic", 0, ())
    assert far.op(TINY, both) is None
    assert far.op(TINY, online(3)) == online(1)
    assert far.op(TINY, add(D)) == add(pages(8, 16))
    assert far.op(TINY, add(A)) == add(A)
    assert SWAP_MAPS.op(TINY, device(C, pgmap_id=1)) == device(C, pgmap_id=0)
    assert SWAP_NODES.op(TINY, add(C, nid=1)) == add(C, nid=2)


# Searches with and without


def everything(space: Space, depth: int) -> tuple[list[int], list[int], set[tuple[str, ...]]]:
    """States and orbits up to each depth, and whatever any operation breaks: a search that
    knows no symmetry and does not end with the first violation."""
    expander = Expander(space)
    machine = space.machines[0]
    frontier = [machine.machine().kernel]
    sections = equal_sections(frontier[0], expander.kinds, space.unusual)
    states = {frontier[0].fingerprint()}
    orbits = {canonical(frontier[0], sections)}
    nr_states, nr_orbits, violated = [1], [1], set()
    for _ in range(depth):
        deeper = []
        for kernel in frontier:
            for op in every_op(kernel, expander.kinds, space.unusual, space.faults):
                checker = expander.checker(kernel.snapshot())
                violations = checker.apply(op).violations
                if violations:
                    violated.add(broken(violations))
                elif checker.kernel.fingerprint() not in states:
                    states.add(checker.kernel.fingerprint())
                    orbits.add(canonical(checker.kernel, sections))
                    deeper.append(checker.kernel)
        frontier = deeper
        nr_states.append(len(states))
        nr_orbits.append(len(orbits))
    return nr_states, nr_orbits, violated


def reached(space: Space, depth: int) -> list[int]:
    """States up to each depth that a search counts."""
    exploration = Exploration(space=space)
    assert exploration.run(Expander(space), depth) is None
    return exploration.depths[1:]


def space(
    of: BootLayout, ops: tuple[str, ...], unusual: int = 0, *, faults: bool = False, **kernel: Any
) -> Space:
    """A search without symmetry that no violation ends, on mainline but for *kernel*."""
    return Space(
        machines=(Trace(geometry="tiny", boot=of, **kernel),), ops=ops, unusual=unusual,
        faults=faults, symmetry=False, violates=("none",),
    )  # fmt: skip


DEVICES = ("memremap_pages", "memunmap_pages")
ADDED = ("add_memory", "remove_memory")
ONLINE = (*ADDED, "online_memory_block")
GONE = ("add_memory", "online_memory_block", "offline_memory_block")
SPAN = ("feee6b298916",)
"""Undone, a zone keeps the span of what goes offline."""
LIMIT = ("7cf209ba8a86",)
"""Undone, memory goes online in the zone of another pfn."""
ENCODED = ("1f503443e7df",)
"""Undone, a section that was removed leads to a memmap that is none."""
WITHOUT_ALTMAP = ("2fac4afa0e2e",)
"""Undone, a block that cannot be registered is removed without its altmap."""
OWN_MEMMAP = replace(layout("memmap-on-memory"), nodes=3)
SPACES = {
    "maps": (space(replace(layout(), window=(C,)), DEVICES), 2),
    "maps-5.11": (space(replace(layout(), window=(B, C)), DEVICES, release="5.11"), 2),
    "nodes": (space(NODES, ONLINE), 2),
    "nodes-broken": (space(NODES, GONE, changes=SPAN), 3),
    "nodes-unusual": (space(NODES, ONLINE, 1, changes=LIMIT), 2),
    "nodes-faults": (space(OWN_MEMMAP, ADDED[:1], faults=True, changes=WITHOUT_ALTMAP), 2),
    "sections": (space(layout(), ADDED), 3),
    "sections-broken": (space(layout(), ADDED, changes=ENCODED), 3),
    "sections-faults": (space(layout(), ADDED, faults=True, changes=ENCODED), 3),
    "unusual-5.4": (space(layout("stale"), ("add_memory", "memunmap_pages"), 1, release="5.4"), 2),
}
HOLDS = {"maps", "nodes", "sections", "unusual-5.4"}


def length(space: Space, depth: int) -> int:
    """How many operations it takes to break what the space asks for."""
    found = Exploration(space=space).run(Expander(space), depth)
    assert found is not None
    return len(found.events)


@pytest.mark.unmeasured
@pytest.mark.parametrize("name", SPACES)
def test_a_search_finds_the_same_with_symmetry_and_without(name: str) -> None:
    plain, depth = SPACES[name]
    nr_states, nr_orbits, violated = everything(plain, depth)
    assert reached(plain, depth) == nr_states
    reduced = replace(plain, symmetry=True)
    assert reached(reduced, depth) == nr_orbits
    for names in violated:
        one, other = (replace(each, violates=names) for each in (plain, reduced))
        assert length(one, depth) == length(other, depth)
    assert bool(violated) == (name not in HOLDS)
    assert (nr_orbits[-1] < nr_states[-1]) == (name != "unusual-5.4")
