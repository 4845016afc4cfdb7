"""Mutants: which mistakes are made, that they are made in memory only, and what kills them."""

from __future__ import annotations

import ast
import json
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

from hotplug_model.__main__ import main
from hotplug_model.boot import LAYOUTS
from hotplug_model.checker import QUIESCENT, carry_out
from hotplug_model.commands import mutate
from hotplug_model.coverage import Coverage
from hotplug_model.errors import UserError
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.invariants import INVARIANTS
from hotplug_model.mutants import campaign as campaigns
from hotplug_model.mutants import trial as trials_of
from hotplug_model.mutants.campaign import Campaign, Journal, verdicts
from hotplug_model.mutants.harmless import HARMLESS, why_harmless
from hotplug_model.mutants.kinds import KINDS
from hotplug_model.mutants.place import places
from hotplug_model.mutants.reach import PROBE, watched
from hotplug_model.mutants.source import (
    ROOT,
    Mutant,
    functions,
    is_possible,
    module_of,
    mutants,
    mutants_of,
    mutated,
    running,
    shared_tree,
    tree_of,
)
from hotplug_model.mutants.trial import LOOKED_THROUGH, NeverEnds, Trials, Verdict, limited
from hotplug_model.state.locks import Locks
from hotplug_model.together import draw_one
from hotplug_model.trace import Trace
from hotplug_model.walk import SeededChooser

# The mistakes

SEED = 31
"""Of all walks here."""
MISTAKES = [
    ("order", "store(a)\nstore(b)", ["store(b)\nstore(a)"]),
    ("order", "store(a)\nyield 'here'", ["yield 'here'\nstore(a)"]),
    ("order", "a = f()\nstore(a)", []),
    ("order", "a = f()\nb = g()", []),
    ("order", "yield 'here'\nyield 'there'", []),
    ("order", "kernel.faults.allocate(x)\nstore(b)", []),
    ("left-out", "store(a)", ["pass"]),
    ("left-out", "x.a = 1", ["pass"]),
    ("left-out", "x |= 1", ["pass"]),
    ("left-out", "raise KernelRefusal(1)", ["pass"]),
    ("left-out", "return", ["pass"]),
    ("left-out", "yield from steps()", ["yield from ()"]),
    ("left-out", "a = 1", []),
    ("left-out", "return a", []),
    ("left-out", "yield 'here'", []),
    ("left-out", "kernel.faults.allocate(x)", []),
    ("column", "t.write(p, a=1, b=2)", ["t.write(p, b=2)", "t.write(p, a=1)"]),
    ("column", "t.write(p, a=1)", []),
    ("flag", "x = a | b", ["x = a", "x = b"]),
    ("flag", "x = a & ~b", ["x = a"]),
    ("flag", "x = a & b", []),
    ("bound", "x = a < b", ["x = a <= b"]),
    ("bound", "x = a == b", []),
    ("bound", "x = PfnRange(a, b)", ["x = PfnRange(a, b - 1)"]),
    ("bound", "x = range(a)", []),
    ("bound", "x = f(a + 1)", ["x = f(a)"]),
    ("bound", "x = f(a + 2)", []),
    ("flipped", "x = a < b", ["x = a >= b"]),
    ("flipped", "x = a in b", ["x = a not in b"]),
    ("flipped", "x = a and b", ["x = a or b"]),
    ("flipped", "x = f(not a)", ["x = f(a)"]),
    ("flipped", "if a:\n    pass", ["if not a:\n    pass"]),
    (
        "unwind", "try:\n    f()\nexcept E:\n    undo()\n    raise",
        ["try:\n    f()\nexcept E:\n    raise"],
    ),
    ("unwind", "try:\n    f()\nexcept E:\n    raise", []),
    ("unwind", "try:\n    f()\nfinally:\n    undo()", ["try:\n    f()\nfinally:\n    pass"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "source", "wanted"), MISTAKES)
def test_each_kind_makes_its_mistake_and_takes_it_back(
    kind: str, source: str, wanted: list[str]
) -> None:
    tree = ast.parse(source)
    found = []
    for place in places(tree):
        for edit in KINDS[kind](place):
            with edit.applied():
                found.append(ast.unparse(tree))
    assert found == wanted
    assert ast.unparse(tree) == source


def test_docstrings_are_no_statements() -> None:
    (place,) = places(ast.parse('def f():\n    """Words."""\n    return 1').body[0])
    assert place.text == "return 1"


def test_every_kind_has_mutants_and_every_mutant_has_its_own_name() -> None:
    found = mutants()
    assert {mutant.kind for mutant in found} == set(KINDS)
    assert len({mutant.name for mutant in found}) == len(found) > 1000
    assert {mutant.file.split("/")[0] for mutant in found} == {"mm", "state"}


def test_making_mutants_alters_no_file() -> None:
    for file in ("mm/sparse.py", "state/runs.py"):
        before = (ROOT / file).read_bytes()
        for mutant, _ in mutants_of(file)[::20]:
            mutated(mutant)
        assert ast.dump(shared_tree(file)) == ast.dump(tree_of(file))
        assert (ROOT / file).read_bytes() == before


@pytest.mark.parametrize("mutant", mutants()[::60], ids=lambda mutant: mutant.name)
def test_a_mutant_says_what_it_alters_and_is_other_code(mutant: Mutant) -> None:
    assert mutant.before != mutant.after
    code = mutated(mutant)
    old = functions(module_of(mutant.file))[mutant.function].__code__
    assert code[mutant.function] != old
    # What no longer says super() needs one cell less: see below.
    keeps_super = mutant.kind != "left-out" or "super()" not in mutant.before
    assert is_possible(mutant, code) == keeps_super


def one(file: str, text: str) -> Mutant:
    """The only mutant of *file* whose description holds *text*."""
    (found,) = [mutant for mutant, _ in mutants_of(file) if text in str(mutant)]
    return found


def test_what_needs_other_cells_does_not_fit() -> None:
    mutant = one("state/zone.py", "left-out: super().__init__(")
    assert not is_possible(mutant, mutated(mutant))
    assert Trials().judge(mutant) == Verdict(
        mutant=mutant.name, verdict="crashed", by=("does not fit",)
    )


def test_other_code_runs_for_a_while_whoever_calls_it() -> None:
    mutant = one("state/zone.py", "left-out: self.cells[index] = value")
    function = functions(module_of(mutant.file))[mutant.function]
    old = function.__code__
    with suppress(KeyError), running(mutant.file, [mutant.function], mutated(mutant)):
        assert function.__code__ is not old
        raise KeyError
    assert function.__code__ is old


def test_what_runs_is_reached_and_nothing_else() -> None:
    locks = Locks()
    with watched() as reached:
        locks.held_by(0)
    lines = {line for _, _, line in Locks.held_by.__code__.co_lines()}
    assert {file for file, _ in reached} == {"state/locks.py"}
    assert {line for _, line in reached} <= lines
    assert not hasattr(module_of("state/locks.py"), PROBE)


# What becomes of them


@pytest.fixture(scope="module")
def trials() -> Trials:
    """Mainline's walk, of one example on each geometry."""
    made = Trials(seed=SEED, steps=40)
    made.prepare()
    return made


@pytest.mark.parametrize(
    ("file", "text", "wanted", "differs"),
    [
        ("mm/page_alloc.py", "left-out: init_device_pages(", "killed", False),
        ("state/zone.py", "left-out: self.zone_cells = zones", "crashed", False),
        ("mm/arm64_unused_vmemmap.py", "left-out: memblock_mark_unused", "not reached", False),
        ("state/zone.py", "left-out: self.nid = nid", "survived", False),
        ("mm/x86_init_64.py", "flipped: if pages.nr_pages < ", "survived", True),
    ],
)
def test_verdicts(trials: Trials, file: str, text: str, wanted: str, differs: bool) -> None:
    mutant = one(file, text)
    verdict = trials.judge(mutant)
    assert (verdict.verdict, verdict.differs) == (wanted, differs)
    assert trials.judge(mutant) == verdict
    assert bool(verdict.by) == (wanted in ("killed", "crashed"))
    assert wanted != "killed" or set(verdict.by) <= set(INVARIANTS.names())
    assert (verdict.steps >= 40) == (wanted == "survived")


def test_a_look_calls_nothing_but_what_is_looked_through() -> None:
    called: set[str] = set()
    geometry = GEOMETRIES["tiny"]
    with watched() as reached:
        for number, make in enumerate(LAYOUTS):
            choose = SeededChooser(0, number)
            checker = Trace(geometry="tiny", boot=make(geometry)).machine()
            for _ in range(4):
                carry_out(checker.kernel, draw_one(checker.kernel, [], choose))
                reached.clear()
                checker.look(QUIESCENT)
                called |= {file for file, _ in reached}
    assert "mm/pfn_to_online_page.py" in called
    assert all(file.startswith(LOOKED_THROUGH) for file in called)


def test_where_mainline_is_at_fault_no_mutant_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ("managed_pages_add_up",)
    monkeypatch.setattr(Trials, "examples", lambda self: iter([(0, "tiny")]))
    monkeypatch.setattr(Trials, "_walk", lambda self, example, sound: (broken, Coverage()))
    trials = Trials(seed=SEED, steps=40)
    trials.prepare()
    with pytest.raises(UserError, match="mainline itself breaks managed_pages_add_up"):
        trials.judge(mutants()[0])


def test_what_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials_of, "PATIENCE_SECONDS", 0.01)
    with pytest.raises(NeverEnds), limited():
        spin()
    spin(until=100_000)


def spin(until: float = float("inf")) -> None:
    """Take CPU time."""
    turns = 0
    while turns < until:
        turns += 1


# Many of them


def test_a_larger_sample_holds_the_smaller_one_in_the_order_of_the_source() -> None:
    few, many = Campaign(sample=5).chosen(), Campaign(sample=50).chosen()
    assert set(few) < set(many)
    assert len(many) == 50
    assert many == [mutant for mutant in mutants() if mutant in many]
    assert few != Campaign(sample=5, seed=1).chosen()
    assert Campaign().chosen() == mutants()


def test_a_sample_stays_the_same_when_there_are_other_mutants_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample, every = Campaign(sample=50).chosen(), mutants()
    monkeypatch.setattr(campaigns, "mutants", lambda: every[100:])
    left = [mutant for mutant in sample if mutant in every[100:]]
    assert left == [mutant for mutant in Campaign(sample=50).chosen() if mutant in sample]


@pytest.fixture
def at_hand(monkeypatch: pytest.MonkeyPatch, trials: Trials) -> list[str]:
    """Trials in this process, and the names of those that were tried."""
    tried: list[str] = []

    def trying(
        campaign: Campaign, wanted: list[Mutant], workers: int
    ) -> Generator[Verdict, None, None]:
        for mutant in wanted:
            tried.append(mutant.name)
            yield trials.judge(mutant)

    monkeypatch.setattr(campaigns, "trying", trying)
    return tried


def test_a_checkpoint_goes_on_where_it_was_cut_off(tmp_path: Path, at_hand: list[str]) -> None:
    path, campaign = tmp_path / "kept", Campaign(steps=40, seed=1, sample=6)
    whole = list(verdicts(campaign, Journal(path, campaign), 1))
    assert [mutant for mutant, _ in whole] == campaign.chosen()
    at_hand.clear()
    path.write_text(path.read_text()[:-5])
    assert list(verdicts(campaign, Journal(path, campaign), 1)) == whole
    assert at_hand == [whole[-1][0].name]
    at_hand.clear()
    assert list(verdicts(campaign, Journal(path, campaign), 1)) == whole
    assert at_hand == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "damaged"),
        ("words\n", "no checkpoint of mutants"),
        ('{"mutants": 1, "seed": 9}\n', "another seed"),
    ],
)
def test_another_file_is_no_checkpoint(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "kept"
    path.write_text(content)
    with pytest.raises(UserError, match=said):
        Journal(path, Campaign())
    assert path.read_text() == content


def test_a_damaged_verdict_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    Journal(path, Campaign())
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(UserError, match="damaged"):
        Journal(path, Campaign())


def test_what_is_no_file_is_no_checkpoint(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/full")):
        with pytest.raises(UserError, match="no regular file"):
            Journal(path, Campaign())


WORDS = ["mutate", "--steps", "40", "--seed", str(SEED), "--workers", "1"]


def test_mutate_lists_survivors_and_counts_all(
    at_hand: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*WORDS, "--sample", "12"]) == 1
    *lines, last = capsys.readouterr().out.splitlines()
    survivors = [line for line in lines if not line.startswith("  harmless: ")]
    assert len(at_hand) == 12
    assert all(line.startswith("survived, behaves ") and len(line) < 200 for line in survivors)
    assert last.startswith("12 mutants: ")
    assert f"{len(survivors)} survived" in last


@pytest.mark.parametrize("entry", HARMLESS, ids=":".join)
def test_what_is_harmless_is_one_mutant_and_excuses_no_other(entry: tuple[str, str, str]) -> None:
    file, function, text = entry
    here = [each for each in mutants() if (each.file, each.function) == (file, function)]
    (mutant,) = (each for each in here if text in each.said)
    assert why_harmless(mutant) == HARMLESS[entry]


def test_a_survivor_that_is_harmless_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    excused = [mutant for mutant in mutants() if why_harmless(mutant)]
    assert len(excused) == len(HARMLESS)
    verdict = Verdict(mutant=excused[0].name, verdict="survived", steps=1, differs=True)
    monkeypatch.setattr(mutate, "verdicts", lambda *_: iter([(excused[0], verdict)]))
    assert main(WORDS) == 0
    said = capsys.readouterr().out
    assert f"  harmless: {why_harmless(excused[0])}" in said
    assert "survivors that differ from the model: 1, harmless of these: 1" in said


def test_mutate_as_json_holds_every_verdict(
    at_hand: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main([*WORDS, "--sample", "12", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert [one["mutant"] for one in said["mutants"]] == at_hand
    count = said["totals"]
    assert count.pop("harmless of these") <= count.pop("survived and differ") <= count["survived"]
    assert sum(count.values()) == 12
    killed = [one for one in said["mutants"] if one["verdict"] == "killed"]
    assert set(said["kills"]) == {name for one in killed for name in one["by"]}
    assert sum(said["sole_kills"].values()) == sum(len(one["by"]) == 1 for one in killed)


def test_mutate_in_processes_is_as_in_this_one(
    trials: Trials, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*WORDS, "--sample", "3", "--json"])
    said = json.loads(capsys.readouterr().out)["mutants"]
    alone = [trials.judge(mutant) for mutant in Campaign(sample=3, seed=SEED).chosen()]
    assert [(one["mutant"], one["verdict"], one["steps"], tuple(one["by"])) for one in said] == [
        (verdict.mutant, verdict.verdict, verdict.steps, verdict.by) for verdict in alone
    ]


@pytest.mark.parametrize(
    "words", [["--sample", "0"], ["--sample", "x"], ["--steps", "0"], ["--checkpoint", "."]]
)
def test_mutate_refuses_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutate", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
