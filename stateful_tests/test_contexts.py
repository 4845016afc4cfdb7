"""Operations in flight together: who goes when, who waits, and who waits for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker
from hotplug_model.contexts import Contexts
from hotplug_model.errors import ModelError
from hotplug_model.flags import BlockState
from hotplug_model.kernel import Kernel
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.ops import OPS, Op
from hotplug_model.ops.interleave import Interleave
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.ops.pages import PinPages, UnpinPages
from hotplug_model.state.locks import Waits
from stateful_tests.kernels import (
    HOLE,
    C,
    D,
    Seeded,
    add,
    boot,
    busy,
    device,
    do,
    hold,
    milestones,
    offline,
    online,
    pages,
    remove,
    settle,
)

PIN, UNPIN = PinPages(pages(0, 1)), UnpinPages(pages(0, 1))
UNLOCKED = KernelVariant.named(None, ("8df1d0e4a265",)).rules()
INVERSION = Interleave((add(C), online(2)), ((0, 7),))
"""The add is left when its block can be seen, before its device lock is taken."""


def passed(kernel: Kernel, *ops: Op, turns: tuple[tuple[int, int], ...] = ()) -> list[str]:
    return milestones(kernel, Interleave(ops, turns))


def of(name: str, seen: list[str]) -> list[str]:
    return [milestone.removeprefix(f"{name}: ") for milestone in seen if milestone[:1] == name]


def apart_from_waits(seen: list[str]) -> list[str]:
    return [milestone for milestone in seen if not milestone.startswith("waits for ")]


def order(seen: list[str]) -> str:
    """Whose milestones came one after the other."""
    names = [milestone[0] for milestone in seen]
    return "".join(n for i, n in enumerate(names) if i == 0 or names[i - 1] != n)


# Schedules


def test_without_turns_one_runs_after_the_other() -> None:
    assert passed(boot(), PIN, UNPIN) == [
        "A: get_page", "A: returns", "B: get_pfnblock_migratetype", "B: put_page", "B: returns",
    ]  # fmt: skip


def test_the_context_behind_the_last_turn_goes_first() -> None:
    pins = [PinPages(pages(pfn, pfn + 1)) for pfn in range(3)]
    for last, names in enumerate(["ABCA", "BCAB", "CABC"]):
        assert order(passed(boot(), *pins, turns=((last, 1),))) == names


def test_a_turn_passes_as_many_milestones_as_it_says() -> None:
    seen = passed(boot(), device(HOLE), PIN, turns=((0, 2), (1, 1)))
    assert seen[:4] == ["A: percpu_ref_init", "A: pgmap_array_store", "B: get_page", seen[3]]
    assert (order(seen), seen[-1]) == ("ABAB", "B: returns")


def test_a_turn_ends_with_its_operation() -> None:
    assert order(passed(boot(), PIN, device(HOLE), turns=((0, 99), (1, 1), (0, 1)))) == "AB"


def test_each_context_passes_the_milestones_that_it_would_alone() -> None:
    seen = passed(boot(), device(HOLE), add(C), turns=((0, 3), (1, 2), (0, 1)))
    assert of("A", seen) == [*milestones(boot(), device(HOLE)), "returns"]
    assert apart_from_waits(of("B", seen)) == [*milestones(boot(), add(C)), "returns"]


@pytest.mark.parametrize("first", [0, 1])
def test_independent_operations_end_in_the_same_state_in_any_order(first: int) -> None:
    apart = boot()
    do(apart, device(HOLE), PIN)
    for nr in range(1, 12):
        kernel = boot()
        assert passed(kernel, device(HOLE), PIN, turns=((first, nr),))
        assert kernel.fingerprint() == apart.fingerprint()


def test_what_is_refused_says_so_and_the_others_go_on() -> None:
    seen = passed(boot(), add(pages(0, 8)), PIN)
    assert seen == ["A: returns -EEXIST", "B: get_page", "B: returns"]


def test_an_allocation_fails_in_the_context_that_says_so() -> None:
    fails = replace(add(C), fail_at="usage")
    for ops, name in (((fails, add(D)), "A"), ((add(D), fails), "B")):
        kernel = boot()
        seen = passed(kernel, *ops, turns=((0, 2), (1, 2)))
        assert of(name, seen)[-1] == "returns -ENOMEM"
        assert (2 in kernel.blocks, 3 in kernel.blocks) == (False, True)


def test_what_the_ledger_blames_is_the_context_s_operation() -> None:
    kernel = busy()
    seen: list[object] = []
    contexts = Contexts(kernel, (offline(3), PIN))
    for _ in contexts.run(((0, 1), (1, 1))):
        seen.append(kernel.ledger.operation)
    assert set(map(str, seen)) == {"boot"}
    with contexts._current(contexts.all[1]):
        assert kernel.ledger.operation == PIN


# Locks


def test_who_needs_a_lock_that_is_held_waits_until_it_is_dropped() -> None:
    seen = passed(boot(), add(C), add(D), turns=((0, 3), (1, 3)))
    assert order(seen) == "ABAB"
    assert of("B", seen)[0] == "waits for device_hotplug_lock"
    assert seen[-1] == "B: returns"


def test_the_lock_is_dropped_where_the_kernel_drops_it() -> None:
    seen = passed(boot(), device(HOLE), device(D, pgmap_id=1), turns=((0, 3),))
    assert order(seen) == "ABAB"
    assert of("B", seen[: seen.index("B: pgmap_array_store") + 1])[-1] == "pgmap_array_store"
    back = seen.index("A: memmap_init_range")
    assert not any(each.startswith("B: fill") for each in seen[:back])


def test_a_driver_is_not_unbound_while_it_is_being_bound() -> None:
    seen = passed(boot(), device(HOLE), MemunmapPages(0), turns=((0, 5),))
    assert order(seen) == "ABAB"
    assert of("B", seen)[0] == "waits for device 0 device_lock"
    assert of("B", seen)[-1] == "returns"


def test_nobody_holds_a_lock_when_all_have_returned() -> None:
    kernel = busy()
    passed(kernel, online(2), offline(3), turns=((0, 2), (1, 2)))
    assert not kernel.locks.any_held
    assert kernel.locks.waiting == {}
    assert (kernel.blocks[2].state, kernel.blocks[3].state) == (
        BlockState.MEM_ONLINE, BlockState.MEM_OFFLINE,
    )  # fmt: skip


def test_an_operation_that_is_left_for_good_drops_what_it_holds() -> None:
    kernel = boot()
    steps = INVERSION.steps(kernel)
    assert [next(steps) for _ in range(3)][-1].startswith("A: ")
    assert kernel.locks.any_held
    steps.close()
    assert not kernel.locks.any_held


def test_waiting_is_no_milestone() -> None:
    kernel = boot()
    hold(kernel, "device_hotplug_lock")
    kernel.locks.context = 1
    waits = next(add(C).steps(kernel))
    assert (type(waits), waits) == (Waits, "waits for device_hotplug_lock")
    with pytest.raises(ModelError, match="runs alone waits for device_hotplug_lock"):
        do(kernel, add(C))


def test_a_lock_that_nobody_in_flight_holds_is_never_dropped() -> None:
    kernel = boot()
    hold(kernel, "mem_hotplug_lock")
    kernel.locks.holder["mem_hotplug_lock"] = 7
    with pytest.raises(ModelError, match="nobody will drop"):
        passed(kernel, add(C), device(HOLE))


def test_a_block_that_went_while_its_file_was_open_is_not_onlined() -> None:
    kernel = boot()
    assert do(kernel, add(C)) is None
    seen = passed(kernel, remove(C), online(2), turns=((0, 1), (1, 1)))
    assert of("B", seen) == ["waits for device_hotplug_lock", "returns -ENOENT"]


# Deadlocks


def test_a_cycle_of_waits_is_a_violation_that_prints_both_chains() -> None:
    outcome = Checker(boot(rules=UNLOCKED)).apply(INVERSION)
    (violation,) = outcome.violations
    assert (violation.invariant, outcome.milestones[-1]) == ("nobody_waits_for_ever", "deadlock")
    assert violation.operation == (
        f"A, {add(C)}, holds mem_hotplug_lock and waits for memory2 device_lock of B; "
        f"B, {online(2)}, holds device_hotplug_lock, memory2 device_lock and waits for "
        "mem_hotplug_lock of A"
    )


def test_device_hotplug_lock_prevents_it() -> None:
    assert replace(MAINLINE, add_memory_takes_device_hotplug_lock=False) == UNLOCKED
    for nr in range(1, 15):
        op = replace(INVERSION, turns=((0, nr),))
        assert Checker(boot()).apply(op).violations == []


@pytest.mark.parametrize("nr", [6, 8])
def test_only_where_the_device_can_be_seen_and_is_not_locked_yet(nr: int) -> None:
    assert not Checker(boot(rules=UNLOCKED)).apply(replace(INVERSION, turns=((0, nr),))).violations


def test_behind_a_deadlock_nothing_is_held() -> None:
    kernel = boot(rules=UNLOCKED)
    passed(kernel, *INVERSION.contexts, turns=((0, 7),))
    assert not kernel.locks.any_held


# Everything drawn


@pytest.mark.parametrize("layout", LAYOUTS.names())
def test_any_two_that_are_drawn_come_to_an_end(layout: str) -> None:
    choose = Seeded(len(layout))
    for _ in range(6):
        kernel = boot(layout)
        kinds = [kind for kind in OPS if kind.enabled(kernel)]
        ops = [kinds[choose.index(len(kinds))].draw(kernel, choose) for _ in range(2)]
        seen = passed(kernel, *ops, turns=((0, 1 + choose.index(9)), (1, 1 + choose.index(9))))
        settle(kernel)
        assert sum("returns" in each for each in seen) == 2
        assert not kernel.locks.any_held
