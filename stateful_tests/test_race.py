"""Which operations are safe in flight together: schedules, pairs, and the command."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hotplug_model.__main__ import main
from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import Checker, Violation
from hotplug_model.contenders import Start, every_pair, every_request, ways_to_walk
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.minimise import minimise
from hotplug_model.ops import Op, drawn_ops
from hotplug_model.ops.interleave import Interleave
from hotplug_model.ops.memremap import MemunmapPages
from hotplug_model.race import Pair, Race, RaceRequest, one_after_the_other, race_all
from hotplug_model.report.columns import columns, passed
from hotplug_model.report.counterexample import page
from hotplug_model.report.race_matrix import matrix
from hotplug_model.schedules import Schedules
from hotplug_model.trace import Trace, replay
from stateful_tests.kernels import HOLE, C, D, add, boot, device, do, milestones, offline, online

TWO_MAPS = (device(HOLE), device(C, pgmap_id=1))
LOCK = "8df1d0e4a265"
"""Undone, add_memory() takes no device_hotplug_lock."""


def request(*changes: str, switches: int = 1, layout: str = "collision") -> RaceRequest:
    return RaceRequest(
        variant=KernelVariant.named(None, changes),
        geometry="tiny",
        layouts={layout: LAYOUTS[layout](GEOMETRIES["tiny"])},
        switches=switches,
    )


def tried(kernel: Kernel, ops: tuple[Op, Op], nr: int) -> list[tuple[tuple[int, ...], ...]]:
    return [turns for turns, _ in Schedules(kernel, ops, set()).with_switches(nr)]


# Schedules


def test_with_one_switch_each_is_left_once_at_each_of_its_milestones() -> None:
    ops = (device(HOLE), offline(1))
    turns = tried(boot(), ops, 1)
    alone = [len(milestones(boot(), op)) for op in ops]
    assert turns == [((n, nr),) for n in (0, 1) for nr in range(1, alone[n] + 1)]


def test_with_two_switches_the_first_comes_back() -> None:
    turns = tried(boot(), TWO_MAPS, 2)
    assert turns
    assert all(len(each) == 2 and {number for number, _ in each} == {0, 1} for each in turns)


PAIRS = {
    "a deadlock": (LOCK, (add(C), online(2))),
    "two adds": (LOCK, (add(C), add(D))),
    "two maps": ("1f90a3477df3", TWO_MAPS),
    "a map that goes": ("9f9b02e5b346", (MemunmapPages(0), offline(1))),
}


@pytest.mark.unmeasured
@pytest.mark.parametrize("nr", [1, 2])
@pytest.mark.parametrize("name", PAIRS)
def test_a_place_that_was_passed_before_has_nothing_new(
    name: str, nr: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What breaks is the same, and so is every state that somebody looked at."""
    change, ops = PAIRS[name]
    kernel = boot(rules=KernelVariant.named(None, (change,)).rules())
    if isinstance(ops[0], MemunmapPages):
        assert do(kernel, device(HOLE)) is None
    seen: list[set[tuple[bytes, str]]] = []

    class Witness(Checker):
        def look(self, milestone: str, state: bytes | None = None) -> list[Violation]:
            seen[-1].add((self.kernel.fingerprint(), milestone))
            return super().look(milestone, state)

    monkeypatch.setattr("hotplug_model.schedules.Checker", Witness)
    found = []
    for reduced in (True, False):
        seen.append(set())
        schedules = Schedules(kernel, ops, set(), reduced=reduced)
        said = [v for n in range(1, nr + 1) for _, new in schedules.with_switches(n) for v in new]
        found.append({(v.invariant, v.pfns, v.defect) for v in said})
    assert found[0] == found[1]
    assert seen[0] == seen[1]


# Pairs


def test_a_deadlock_is_found_with_one_switch_and_its_trace_is_one_step() -> None:
    pair = Race(request(LOCK)).race(("add_memory", "online_memory_block"))
    assert pair.verdict == "unsafe"
    assert pair.trace is not None
    assert pair.trace.violates == ("nobody_waits_for_ever",)
    (event,) = pair.trace.events
    assert isinstance(event, Interleave)
    assert len(event.turns) == 1


def test_the_trace_of_a_race_replays_and_is_minimal() -> None:
    trace = Race(request(LOCK)).race(("add_memory", "online_memory_block")).trace
    assert trace is not None
    again = Trace.loads(trace.dumps())
    assert again == trace
    _, violations = replay(again)
    assert {v.invariant for v in violations} == {"nobody_waits_for_ever"}
    assert minimise(trace) == trace


def test_mainline_takes_device_hotplug_lock_and_the_pair_is_safe() -> None:
    pair = Race(request()).race(("add_memory", "online_memory_block"))
    assert (pair.verdict, pair.trace) == ("safe", None)
    assert pair.nr_schedules > pair.nr_requests > 0


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    ("op", "defect"),
    [
        ("memremap_pages", "taint-comes-after-the-bit"), ("memunmap_pages", "dying-map-is-no-map"),
    ],
)  # fmt: skip
def test_a_defect_that_a_walker_meets_on_its_way_is_told(op: str, defect: str) -> None:
    pair = Race(request()).race(("kpageflags_read", op))
    assert (pair.verdict, pair.defects) == ("known", {defect})


def test_what_breaks_one_after_the_other_is_no_race() -> None:
    rules = KernelVariant.named(None, ("1f90a3477df3",)).rules()
    start = Start(kernel=boot(rules=rules), events=())
    alone = one_after_the_other(start, (device(HOLE), offline(1)))
    assert ("walkers_take_no_zone_device_page", None) in alone
    assert Pair(kinds=("a", "b"), nr_requests=1, alone=alone).verdict == "alone"


def test_requests_are_also_drawn_where_the_other_has_been() -> None:
    start = Start(kernel=boot(), events=())
    requests = every_request(start, ("add_memory", "online_memory_block"))
    assert requests
    assert {b.op_name() for _, b in requests} | {a.op_name() for a, _ in requests} == {
        "add_memory", "online_memory_block",
    }  # fmt: skip


def test_every_two_kinds_are_a_pair_once() -> None:
    pairs = every_pair(())
    nr, ways = len(drawn_ops()), len(ways_to_walk())
    every = nr * (nr + 1) // 2 + nr * ways
    assert len(pairs) == len({frozenset(kinds) for kinds in pairs}) == every


@pytest.mark.unmeasured
def test_the_number_of_workers_makes_no_difference() -> None:
    pairs = [("add_memory", "online_memory_block"), ("add_memory", "add_memory")]
    alone = list(race_all(request(LOCK), pairs, 1))
    assert list(race_all(request(LOCK), pairs, 2)) == alone


# Drawn


def test_the_columns_show_where_each_was_left_and_what_broke() -> None:
    trace = Race(request(LOCK)).race(("add_memory", "online_memory_block")).trace
    assert trace is not None
    event = trace.events[-1]
    assert isinstance(event, Interleave)
    lines = [text.plain for text in columns(event, passed(trace))]
    left = next(text for text in lines if text.endswith("(left here)"))
    waits = next(text for text in lines if text.strip().startswith("waits for mem_hotplug_lock"))
    assert waits.index("waits") > left.index("device_add")
    assert lines[-1].strip() == "! nobody_waits_for_ever"


REGRESSIONS = Path(__file__).parent.parent / "regressions"


def test_a_page_shows_the_columns_and_what_a_walker_sees_in_its_own() -> None:
    text = (REGRESSIONS / "defect-nothing-keeps-a-walker-s-memmap.json").read_text()
    drawn = [each.plain.strip() for each in page(Trace.loads(text), None)]
    at = drawn.index("sees PMOE- initialised Normal/1")
    assert drawn[at - 1] == "online_section"
    assert drawn[at + 1 : at + 3] == ["ms->usage", "pfn_to_online_page  (left here)"]
    last = drawn.index("sees ----- not mapped")
    assert drawn[last - 1 : last + 2 : 2] == ["returns", "! walkers_use_mapped_pages"]


def test_of_a_machine_on_which_nothing_breaks_no_schedule_is_drawn_but_its_own() -> None:
    event = Interleave((add(C), device(HOLE)), ((0, 2),))
    trace = Trace(geometry="tiny", boot=LAYOUTS["collision"](GEOMETRIES["tiny"]), events=(event,))
    drawn = [each.plain for each in page(trace, None)]
    assert any("waits for mem_hotplug_lock" in each for each in drawn)
    assert not any("!" in each for each in drawn)


def test_the_matrix_of_a_walker_is_its_row() -> None:
    pairs = [Pair(kinds=kinds, nr_requests=1) for kinds in every_pair(["kpageflags_read"])]
    rows = [text.plain for text in matrix(pairs)]
    assert rows[1].split() == ["kpageflags_read", *"." * len(drawn_ops())]
    assert rows[2].split()[:2] == ["a", next(iter(drawn_ops()))]


def test_the_matrix_has_a_cell_for_each_pair() -> None:
    pairs = [Pair(kinds=kinds, nr_requests=1) for kinds in every_pair(())]
    rows = [text.plain for text in matrix(pairs)]
    nr, ways = len(drawn_ops()), len(ways_to_walk())
    cells = [cell for row in rows[1 : 1 + nr] for cell in row.split()[2:]]
    cells += [cell for row in rows[1 + nr : 1 + nr + ways] for cell in row.split()[1:]]
    assert cells == ["."] * len(pairs)
    assert max(map(len, rows)) <= 100


# The command


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


RACE = ["race", "add_memory", "online_memory_block", "--boot", "collision", "--workers", "1"]


@pytest.mark.usefixtures("elsewhere")
def test_an_unsafe_pair_is_exit_1_with_a_trace_that_replays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*RACE, "--change", LOCK]) == 1
    out = capsys.readouterr().out
    assert "unsafe: add_memory with online_memory_block: nobody_waits_for_ever" in out
    (path,) = Path("hotplug-traces").glob("*.json")
    assert main(["replay", str(path)]) == 0


MOODY = """
import os
from hotplug_model.changes import CHANGES

def moody(rules):
    \"\"\"No lock is taken, in one process.\"\"\"
    return CHANGES["{change}"].rewrite(rules) if os.getpid() == {pid} else rules
"""


@pytest.mark.usefixtures("elsewhere")
def test_a_pair_that_is_unsafe_in_one_process_only_is_flaky_and_exit_3(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("moods.py").write_text(MOODY.format(change=LOCK, pid=os.getpid()))
    monkeypatch.syspath_prepend(".")
    assert main([*RACE, "--change", "moods:moody"]) == 3
    (path,) = Path("hotplug-traces").glob("*.json")
    first, *_, last = capsys.readouterr().out.splitlines()[1:]
    assert first.startswith("  flaky: add_memory with online_memory_block: 3 of 3 fresh processes")
    assert last == f"  unconfirmed: {path}"


@pytest.mark.usefixtures("elsewhere")
def test_a_flaky_pair_violates_nothing_in_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotplug_model.commands.race.disagreement", lambda *args: "1 of 3")
    assert main([*RACE, "--change", LOCK, "--json"]) == 3
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert (pair["verdict"], pair["flaky"]) == ("flaky", "1 of 3")
    assert (pair["violates"], pair["trace"]) == ([], None)
    assert list(Path("hotplug-traces").iterdir()) != []


@pytest.mark.usefixtures("elsewhere")
def test_a_safe_pair_is_exit_0_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RACE, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    (pair,) = result["pairs"]
    assert (pair["verdict"], pair["trace"], result["switches"]) == ("safe", None, 1)
    assert not Path("hotplug-traces").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["add_memory"], "race takes two operations, or a walker and perhaps an operation"),
        (["kpageflags_read", "kpagecount_read"], "race takes two operations, or a walker"),
        (["nowhere:f"], "walker 'nowhere:f': ModuleNotFoundError"),
        (["add_memory", "online"], "online"),
        (["add_memory", "add_memory", "--switches", "0"], "invalid number of switches"),
        (["--boot", "nowhere"], "nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["race", *arguments]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert reason in captured.err
