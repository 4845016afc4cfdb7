"""Walkers that take time: what each keeps while it does, and what happens if that is not enough."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hotplug_model.__main__ import main
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker, Violation
from hotplug_model.contenders import ways_to_walk
from hotplug_model.errors import ModelError, UserError
from hotplug_model.flags import PageContent
from hotplug_model.kernel import Kernel
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.ops import Op
from hotplug_model.ops.interleave import Interleave
from hotplug_model.ops.memory_failure import HardOfflinePage
from hotplug_model.ops.memory_hotplug import OfflineAndRemoveMemory
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.ops.pages import PinPages
from hotplug_model.ops.walk import Walk
from hotplug_model.rules import KernelRules
from hotplug_model.schedules import Schedules
from hotplug_model.state.locks import Locks
from hotplug_model.state.rcu import Rcu
from hotplug_model.trace import Trace
from hotplug_model.walkers import READERS, WALKERS, Holds, walker
from hotplug_model.walkers.own import find_reader
from stateful_tests.kernels import (
    HOLE,
    B,
    C,
    add,
    boot,
    device,
    do,
    layout,
    milestones,
    offline,
    online,
    pages,
    remove,
)

ONLINE_C = (add(C), online(2))
UNPLUG = OfflineAndRemoveMemory(C, unmovable=False)
HELD_BACK = ("kmemleak_scan", "saveable_page", "pagetypeinfo_showblockcount_print")
"""Walkers that exclude offlining."""


def machine(*before: Op, rules: KernelRules = MAINLINE, of: str = "collision") -> Kernel:
    kernel = boot(of, rules=rules)
    assert do(kernel, *before) is None
    return kernel


def broken(kernel: Kernel, *ops: Op, switches: int = 2) -> set[tuple[str, str | None]]:
    """What any schedule of the two breaks."""
    first, second = ops
    schedules = Schedules(kernel, (first, second), set())
    found: list[Violation] = []
    for nr in range(1, switches + 1):
        for _, seen in schedules.with_switches(nr):
            found += seen
    return {(v.invariant, v.defect) for v in found}


# What a walker passes


@pytest.mark.parametrize(
    ("walker", "passes"),
    [
        ("kpageflags_read", ["online_section", "ms->usage", "pfn_to_online_page"]),
        ("kmemleak_scan", ["online_section", "ms->usage", "pfn_to_online_page"]),
        (
            "pagetypeinfo_showmixedcount_print",
            ["online_section", "ms->usage", "pfn_to_online_page", "page_ext_get"],
        ),
    ],
)
def test_a_walker_looks_up_then_reads(walker: str, passes: list[str]) -> None:
    kernel = machine()
    assert milestones(kernel, Walk(walker, 0)) == passes
    assert not kernel.locks.any_held
    assert kernel.rcu.place() == ((), (), ())


def test_who_asks_pfn_valid_is_a_reader_of_rcu() -> None:
    rules = KernelVariant.named(None, ("aad5f69bc161",)).rules()
    early = ["valid_section", "pfn_valid"]
    assert milestones(machine(rules=rules), Walk("kpageflags_read", 0)) == early
    kernel = machine(*ONLINE_C, rules=rules)
    steps = Walk("kpageflags_read", 16).steps(kernel)
    assert [next(steps), next(steps)] == ["valid_section", "ms->usage"]
    assert kernel.locks.shared == {"rcu_read_lock": frozenset({0})}
    steps.close()
    assert not kernel.locks.any_held


def test_a_reference_is_taken_if_somebody_else_has_one() -> None:
    kernel = machine(PinPages(pages(1, 2)))
    assert "get_page" not in milestones(kernel, Walk("memory_failure", 0))
    assert milestones(kernel, Walk("memory_failure", 1))[-1] == "get_page"
    assert kernel.pfns.at(1, "refcount") == 1


@pytest.mark.parametrize("pfn", [12, 16, 1 << 40])
def test_a_pfn_that_is_not_online_has_no_page(pfn: int) -> None:
    assert "pfn_to_online_page" not in milestones(machine(), Walk("kpageflags_read", pfn))


@pytest.mark.parametrize("walker", READERS.names())
def test_on_a_machine_at_rest_a_walker_that_takes_time_breaks_nothing(walker: str) -> None:
    checker = Checker(machine(PinPages(pages(1, 2)), device(HOLE), *ONLINE_C))
    for pfn in (0, 1, 8, 12, 14, 16, 24):
        outcome = checker.apply(Walk(walker, pfn))
        assert (outcome.violations, outcome.known) == ([], [])


def test_what_is_in_the_middle_of_hotplug_takes_no_time_of_its_own() -> None:
    inside = {w.name for w in WALKERS if w.holds is Holds.MEM_HOTPLUG}
    assert inside == set(WALKERS.names()) - set(READERS.names())
    assert set(READERS.names()) - set(WALKERS.names()) == {
        "memory_failure_dev_pagemap", "pin_user_pages_fast",
    }  # fmt: skip
    assert {READERS[name].holds for name in ways_to_walk()} == set(Holds) - {Holds.MEM_HOTPLUG}


# What happens meanwhile


def test_a_walker_without_a_lock_races_with_offlining_and_that_is_accepted() -> None:
    found = broken(machine(*ONLINE_C), Walk("kpageflags_read", 16), offline(2))
    assert found == {("walkers_use_no_poisoned_page", "walkers-race-with-offlining")}


def test_its_memmap_and_its_usage_map_may_go_and_these_are_known_defects() -> None:
    found = broken(machine(*ONLINE_C), Walk("kpageflags_read", 16), UNPLUG)
    assert found == {
        ("walkers_use_no_poisoned_page", "walkers-race-with-offlining"),
        ("walkers_use_mapped_pages", "nothing-keeps-a-walker-s-memmap"),
        ("nobody_reads_what_was_freed", "online-page-reads-usage-outside-rcu"),
    }


@pytest.mark.parametrize("walker", HELD_BACK)
@pytest.mark.parametrize("op", [offline(2), UNPLUG])
def test_who_excludes_offlining_is_safe(walker: str, op: Op) -> None:
    kernel = machine(*ONLINE_C)
    assert milestones(kernel.snapshot(), Walk(walker, 16))[-1] == "pfn_to_online_page"
    assert broken(kernel, Walk(walker, 16), op) == set()


def test_who_excludes_offlining_is_not_excused() -> None:
    kernel = machine(*ONLINE_C)
    steps = Walk("kmemleak_scan", 16).steps(kernel)
    assert [next(steps) for _ in range(3)][-1] == "pfn_to_online_page"
    kernel.pfns.write(C, content=2, section_flags=0)
    assert list(steps) == []
    (entry,) = kernel.ledger.breaches
    assert (entry.law.name, entry.cause.name) == ("USED_POISONED", "NONE")


def test_what_is_poisoned_while_it_is_online_is_not_excused() -> None:
    kernel = machine(*ONLINE_C)
    steps = Walk("kpageflags_read", 16).steps(kernel)
    assert [next(steps) for _ in range(3)][-1] == "pfn_to_online_page"
    kernel.pfns.write(C, content=3)
    assert list(steps) == []
    (entry,) = kernel.ledger.breaches
    assert (entry.law.name, entry.cause.name) == ("USED_ANOTHERS", "NONE")


def test_a_reference_keeps_the_page_online() -> None:
    kernel = machine(*ONLINE_C, PinPages(pages(16, 17)))
    op = Interleave((Walk("memory_failure", 16), offline(2)), ((0, 4), (1, 9)))
    outcome = Checker(kernel).apply(op)
    assert (outcome.violations, outcome.known) == ([], [])
    assert "B: returns -EBUSY" in outcome.milestones
    assert kernel.pfns.at(16, "refcount") == 1


def test_who_took_a_reference_too_late_has_none() -> None:
    kernel = machine(*ONLINE_C, PinPages(pages(16, 17)))
    steps = Walk("memory_failure", 16).steps(kernel)
    assert [next(steps) for _ in range(4)][-1] == "get_page"
    kernel.pfns.write(C, content=2, refcount=0)
    assert list(steps) == []
    assert kernel.pfns.at(16, "refcount") == 0
    assert [entry.law.name for entry in kernel.ledger.breaches] == ["USED_POISONED"]


# Grace periods and references, and kernels without them


def test_pfn_valid_is_safe_because_of_the_grace_period() -> None:
    rules = KernelVariant.named(None, ("aad5f69bc161",)).rules()
    walk, op = Walk("kpageflags_read", 16), UNPLUG
    names = {name for name, _ in broken(machine(*ONLINE_C, rules=rules), walk, op)}
    assert "walkers_use_mapped_pages" in names
    assert names & {"nobody_reads_what_was_freed", "nobody_follows_a_null_pointer"} == set()


@pytest.mark.parametrize(
    ("rule", "invariant"),
    [
        ((False, True), "nobody_reads_what_was_freed"),
        ((True, False), "nobody_follows_a_null_pointer"),
    ],
)
def test_without_it_or_without_the_check_pfn_valid_is_not_safe(
    rule: tuple[bool, bool], invariant: str
) -> None:
    by_rcu, checks = rule
    rules = replace(
        KernelVariant.named(None, ("aad5f69bc161",)).rules(),
        usage_freed_by_rcu=by_rcu, pfn_section_valid_checks_usage=checks,
    )  # fmt: skip
    kernel = machine(*ONLINE_C, rules=rules)
    assert (invariant, None) in broken(kernel, Walk("kpageflags_read", 16), UNPLUG)


def test_page_ext_is_freed_behind_a_grace_period() -> None:
    walk = Walk("pagetypeinfo_showmixedcount_print", 16)
    for by_rcu, defects in ((True, set()), (False, {None})):
        kernel = machine(*ONLINE_C, rules=replace(MAINLINE, page_ext_freed_by_rcu=by_rcu))
        found = broken(kernel, walk, offline(2))
        assert {d for name, d in found if name == "nobody_reads_what_was_freed"} == defects


def test_offlining_waits_for_who_reads_page_ext() -> None:
    kernel = machine(*ONLINE_C)
    walk = Walk("pagetypeinfo_showmixedcount_print", 16)
    seen = milestones(kernel, Interleave((walk, offline(2)), ((0, 4), (1, 99))))
    waits = seen.index("B: waits for rcu_read_lock")
    assert seen[waits + 1] == "A: returns"
    assert seen[-1] == "B: returns"


def test_a_reference_on_the_map_delays_its_end() -> None:
    walk, unmap = Walk("memory_failure_dev_pagemap", 16), MemunmapPages(0)
    assert broken(machine(device(C)), walk, unmap) == set()
    seen = milestones(machine(device(C)), Interleave((walk, unmap), ((0, 3), (1, 99))))
    assert seen[2:5] == [
        "A: get_dev_pagemap", "B: percpu_ref_kill", "B: waits for pgmap 0 references",
    ]  # fmt: skip
    hasty = replace(MAINLINE, memunmap_waits_for_references=False)
    found = broken(machine(device(C), rules=hasty), walk, unmap)
    assert {("walkers_use_no_poisoned_page", None), ("walkers_use_mapped_pages", None)} <= found


NO_DATA = ("34dc45be4563",)
EARLY = {("walkers_use_no_poisoned_page", None)}


@pytest.mark.parametrize(("changes", "seen"), [((), set()), (NO_DATA, EARLY)])
def test_a_device_page_is_found_before_it_is_initialised_unless_it_has_to_be_data(
    changes: tuple[str, ...], seen: set[tuple[str, str | None]]
) -> None:
    rules = KernelVariant.named(None, changes).rules()
    assert broken(machine(rules=rules), Walk("memory_failure_dev_pagemap", 16), device(C)) == seen


@pytest.mark.parametrize(("release", "seen"), [("5.4", EARLY), ("5.12", set()), ("6.14", set())])
def test_that_window_is_open_until_5_12(release: str, seen: set[tuple[str, str | None]]) -> None:
    rules = KernelVariant.named(release, ()).rules()
    walk, map_it = Walk("memory_failure_dev_pagemap", 16), device(C)
    assert broken(machine(rules=rules), walk, map_it, switches=1) & EARLY == seen


@pytest.mark.parametrize(("changes", "seen"), [((), 1), (("966cf44f637e",), 0)])
def test_since_966cf44f637e_it_lasts_until_after_the_lock(
    changes: tuple[str, ...], seen: int
) -> None:
    rules = KernelVariant.named(None, (*NO_DATA, *changes)).rules()
    alone = milestones(boot(rules=rules), device(C))
    unlocked = alone.index("memmap_init_zone_device") + 1
    op = Interleave((device(C), Walk("memory_failure_dev_pagemap", 16)), ((0, unlocked),))
    assert len(Checker(boot(rules=rules)).apply(op).violations) == seen


def test_memory_failure_leaves_what_an_altmap_keeps_for_itself() -> None:
    walk, mapped = Walk("memory_failure_dev_pagemap", 12), device(HOLE, altmap=(1, 1))
    for changes, seen in ((), set()), (NO_DATA, EARLY):
        kernel = machine(mapped, rules=KernelVariant.named(None, changes).rules())
        found = Checker(kernel).apply(walk).violations
        assert {(each.invariant, each.defect) for each in found} == seen


PIN = "pin_user_pages_fast"
WAITED = ("27674ef6c73f",)


@pytest.mark.parametrize(
    ("changes", "blamed"),
    [
        ((), {"a-device-goes-while-its-pages-are-held"}),
        (WAITED, set()),
        ((*WAITED, "71389703839e"), {None}),
    ],
)
@pytest.mark.parametrize("kind", ["fs_dax", "generic"])
def test_a_device_waits_for_who_pins_its_pages_from_4_12_to_5_17_only(
    kind: str, changes: tuple[str, ...], blamed: set[str | None]
) -> None:
    kernel = machine(device(C, kind=kind), rules=KernelVariant.named(None, changes).rules())
    found = broken(kernel, Walk(PIN, 16), MemunmapPages(0), switches=1)
    assert {defect for _, defect in found} == blamed


def test_a_pin_is_dropped_and_nobody_else_s_pages_are_pinned() -> None:
    for kind, pins in (("generic", True), ("private", False), ("pci_p2pdma", False)):
        kernel = machine(device(C, kind=kind))
        before = kernel.fingerprint()
        assert (PIN in milestones(kernel, Walk(PIN, 16))) == pins
        assert kernel.fingerprint() == before
    assert milestones(machine(), Walk(PIN, 0)) == []


def test_a_map_that_is_on_its_way_out_is_not_pinned() -> None:
    kernel = machine(device(C))
    op = Interleave((MemunmapPages(0), Walk(PIN, 16)), ((0, 1),))
    passed = milestones(kernel, op)
    assert passed[0].endswith("percpu_ref_kill")
    assert not any(PIN in each for each in passed)


def test_who_asks_for_the_lru_first_takes_no_reference_on_a_broken_page() -> None:
    for name, takes in (("page_idle_get_folio", False), ("damon_get_folio", True)):
        walk, broke = Walk(name, 8), machine(HardOfflinePage(8), of="two-nodes")
        assert "get_page" in milestones(machine(PinPages(pages(8, 9)), of="two-nodes"), walk)
        assert ("get_page" in milestones(broke, walk)) == takes


@pytest.mark.parametrize("name", ["damon_get_folio", "split_huge_pages_all"])
@pytest.mark.parametrize("broken", [False, True])
def test_offlining_waits_for_who_holds_a_page_unless_it_broke(name: str, broken: bool) -> None:
    before = HardOfflinePage(8) if broken else PinPages(pages(8, 9))
    kernel = machine(before, of="two-nodes")
    op = Interleave((Walk(name, 8), OfflineAndRemoveMemory(B, unmovable=False)), ((0, 4),))
    checker = Checker(kernel)
    found = checker.apply(op)
    assert found.violations == []
    skipped = {"offlining-skips-a-broken-page-that-is-held"}
    assert {v.defect for v in found.known} == (skipped if broken else set())


def test_what_was_lost_before_it_was_looked_up_is_no_race() -> None:
    """With 64K pages a map that fails takes the memmap of its neighbour along."""
    checker = Checker(boot("two-nodes", "tiny_arm64_64k"))
    lost, beside = pages(22, 24), pages(16, 22)
    for op in (device(lost), device(beside, pages(16, 18), pgmap_id=1), device(beside, pgmap_id=1)):
        assert checker.apply(op).violations == []
    assert checker.kernel.pfns.at(22, "content") != PageContent.INITIALISED
    assert checker.apply(Walk("memory_failure_dev_pagemap", 22)).violations == []


def test_memory_that_holds_the_memmap_of_a_device_is_not_recoverable() -> None:
    kernel = machine(device(C, altmap=(0, 4)))
    assert "get_dev_pagemap" not in milestones(kernel, Walk("memory_failure_dev_pagemap", 16))
    assert "get_dev_pagemap" in milestones(kernel, Walk("memory_failure_dev_pagemap", 20))


def test_who_needs_the_lock_of_a_walker_waits_for_it() -> None:
    kernel = machine(*ONLINE_C)
    op = Interleave((Walk("saveable_page", 16), remove(B)), ((0, 1), (1, 1)))
    seen = milestones(kernel, op)
    assert seen[1:3] == ["B: waits for device_hotplug_lock", "A: ms->usage"]


# Locks that several hold, and grace periods


def test_readers_share_what_a_writer_has_alone() -> None:
    locks = Locks()
    for reader in (1, 2):
        locks.context = reader
        assert list(locks.take_shared("rwsem")) == []
    assert locks.blockers("rwsem") == {1, 2}
    assert locks.held_by(1) == ["rwsem"]
    locks.context = 3
    writer = locks.take("rwsem")
    assert next(writer) == "waits for rwsem"
    for reader in (1, 2):
        locks.context = reader
        locks.drop_shared("rwsem")
        with pytest.raises(ModelError, match="not held"):
            locks.drop_shared("rwsem")
    locks.context = 3
    assert list(writer) == []
    assert not locks.waiting
    assert locks.blockers("rwsem") == frozenset({3})
    locks.context = 1
    late = locks.take_shared("rwsem")
    assert next(late) == "waits for rwsem"
    assert locks.copy() == locks
    locks.context = 3
    with pytest.raises(ModelError, match="taken twice"):
        next(locks.take("rwsem"))


def inside(locks: Locks, context: int) -> None:
    locks.context = context
    assert list(locks.take_shared("rcu_read_lock")) == []


def test_a_grace_period_ends_when_those_that_were_inside_have_left() -> None:
    rcu, locks = Rcu(), Locks()
    inside(locks, 1)
    rcu.load("usage", 1)
    rcu.load("usage", 2)
    locks.context = 9
    rcu.kfree_rcu("usage", locks)
    waits = rcu.synchronize_rcu(locks)
    assert next(waits) == "waits for rcu_read_lock"
    assert rcu.copy().place() == rcu.place() != Rcu().place()
    inside(locks, 3)
    assert rcu.read("usage", 1)
    locks.context = 3
    rcu.unlock(locks)
    assert rcu.dangling == frozenset()
    inside(locks, 3)
    locks.context = 1
    rcu.unlock(locks)
    assert not rcu.read("usage", 2)
    locks.context = 9
    assert list(waits) == []
    assert (rcu.place(), locks.waiting) == (Rcu().place(), {})


def test_without_a_reader_nothing_is_put_off() -> None:
    rcu, locks = Rcu(), Locks()
    rcu.load("usage", 1)
    rcu.kfree_rcu("usage", locks)
    assert list(rcu.synchronize_rcu(locks)) == []
    assert rcu.dangling == {("usage", 1)}
    rcu.forget(1)
    assert rcu.place() == Rcu().place()


# A walker as an event


def test_a_walk_is_an_event_of_a_trace() -> None:
    event = Interleave((Walk("kpageflags_read", 16), UNPLUG), ((0, 3),))
    trace = Trace(geometry="tiny", boot=layout(), events=(*ONLINE_C, event))
    assert Trace.loads(trace.dumps()) == trace
    assert event.pfns_touched() == [pages(16, 17), C]


def test_a_walker_asks_one_of_two_predicates() -> None:
    with pytest.raises(UserError, match="pfn_valid"):
        walker("mine.c", believes="any page", asks="pfn_vald")


@pytest.mark.parametrize(("walker", "pfn"), [("kpageflags", 0), ("kpageflags_read", -1)])
def test_a_walk_of_nobody_or_to_nowhere_is_refused(walker: str, pfn: int) -> None:
    with pytest.raises(UserError):
        Walk(walker, pfn)


# One's own


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "my_walkers.py").write_text(
        "from hotplug_model.walkers import Holds, walker\n"
        "NO_FUNCTION = 1\n"
        "def my_scan(x):\n"
        "    return x.online_page\n"
        "@walker('mine.c', believes='an online page', holds=Holds.ONLINE_MEMS)\n"
        "def my_careful_scan(x):\n"
        "    return x.online_page\n"
    )
    (tmp_path / "my_twin.py").write_text("def my_scan(x):\n    return x.online_page\n")
    (tmp_path / "my_slip.py").write_text(
        "def my_slipping_scan(x):\n"
        "    return x.no_such_column\n"
    )
    (tmp_path / "my_mistake.py").write_text(
        "from hotplug_model.walkers import walker\n"
        "@walker('mine.c', believes='any page', asks='pfn_valid')\n"
        "def my_rash_scan(x):\n"
        "    return x.pfn_valid\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for registry in (WALKERS, READERS):
        for name in [name for name in registry.names() if "my_" in name]:
            registry.discard(name)
    for name in ("my_walkers", "my_mistake", "my_slip", "my_twin"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("mine")
def test_a_function_of_one_s_own_is_a_walker() -> None:
    assert find_reader("my_walkers:my_scan") == find_reader("my_walkers:my_scan")
    assert READERS["my_walkers:my_scan"].holds is Holds.NOTHING
    find_reader("my_walkers:my_careful_scan")
    assert READERS["my_walkers:my_careful_scan"].holds is Holds.ONLINE_MEMS
    assert find_reader("kpageflags_read") == "kpageflags_read"
    for wrong in (
        "kpageflags", "my_walkers:nothing", "my_walkers:NO_FUNCTION", "nowhere:f", "my_twin:my_scan"
    ):  # fmt: skip
        with pytest.raises(UserError):
            find_reader(wrong)


RACE = ["race", "--boot", "two-nodes", "--switches", "2", "--workers", "1"]


@pytest.mark.usefixtures("mine")
def test_one_s_own_is_checked_against_every_operation_in_one_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ops = ["offline_memory_block"]
    assert main([*RACE, "my_walkers:my_scan", *ops]) == 0
    assert "accepted: my_walkers:my_scan with offline_memory_block" in capsys.readouterr().out
    assert main([*RACE, "my_walkers:my_careful_scan", *ops]) == 0
    assert "safe: my_walkers:my_careful_scan" in capsys.readouterr().out
    assert main([*RACE, "my_mistake:my_rash_scan", *ops]) == 1
    said = capsys.readouterr().out
    assert "unsafe: my_mistake:my_rash_scan" in said
    (path,) = map(str, Path("hotplug-traces").glob("*.json"))
    command = f"  hotplug-model show {path} \\\n    --walker my_mistake:my_rash_scan\n"
    assert command in said
    assert main(["replay", path, "--walker", "my_mistake:my_rash_scan"]) == 0
    assert main(["replay", path, "--walker", "nobody"]) == 2


@pytest.mark.usefixtures("mine")
def test_a_slip_in_one_s_own_is_told_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RACE, "my_slip:my_slipping_scan", "offline_memory_block"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("hotplug-model: my_slip.py, line 2, my_slipping_scan(): Attribute")
    assert said.count("\n") == 1


def test_the_working_directory_is_asked_for_code_only_if_code_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["replay", "nothing.json", "--walker", "kpageflags_read"]) == 2
    assert str(tmp_path) not in sys.path
    assert main(["replay", "nothing.json", "--walker", "nowhere:f"]) == 2
    assert str(tmp_path) in sys.path
