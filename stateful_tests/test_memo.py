"""What the checker remembers never changes what it reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from types import FunctionType
from typing import ClassVar, cast

import pytest

from hotplug_model import parts as of_kernel
from hotplug_model.arrays import ExtentMask, Pfns
from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import QUIESCENT, Checker, Violation
from hotplug_model.contiguous import clear_zone_contiguous
from hotplug_model.extents import Extents, Sees
from hotplug_model.flags import LinearMap, MappingLevel, MemmapOrigin, PageContent, ZoneType
from hotplug_model.invariants import INVARIANTS, Invariant, law
from hotplug_model.invariants.walkers import must_not_see
from hotplug_model.kernel import Kernel
from hotplug_model.memo import Keys
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.mm.zones import set_span
from hotplug_model.ops import Op
from hotplug_model.ops.pages import PinPages
from hotplug_model.parts import PARTS, parts_of
from hotplug_model.pfn import PfnRange, merge_ranges
from hotplug_model.rules import KernelRules
from hotplug_model.state.ledger import Law
from hotplug_model.state.pfn_table import COLUMNS, PfnTable
from hotplug_model.state.resource import SYSTEM_RAM, Resource
from hotplug_model.walkers import WALKERS
from hotplug_model.walkers.contents import CONTENTS
from hotplug_model.walkers.walker import READERS, in_zone_span, visits, walker
from stateful_tests.kernels import (
    EVERY_FUNCTION,
    boot,
    device,
    do,
    hold,
    pages,
    walk,
)

pytestmark = pytest.mark.unmeasured

RULES: dict[str, KernelRules] = {
    "mainline": MAINLINE,
    "no taint": KernelVariant.named(None, ("1f90a3477df3",)).rules(),
    "no subsection": KernelVariant.named(None, ("9f9b02e5b346",)).rules(),
    "v5.4": KernelVariant.named("5.4", ()).rules(),
    "pfn_valid": replace(MAINLINE, asks_pfn_valid=EVERY_FUNCTION, shrink_asks_online=False),
    "holes go offline": replace(
        MAINLINE,
        offline_rejects_holes=False,
        early_memmap_kept=False,
        block_zone=lambda kernel, block_id: ZoneType.ZONE_NORMAL,
    ),
}
GEOMETRIES = (
    "tiny", "small", "x86_64", "s390", "arm64_64k", "tiny_56", "tiny_arm64_64k", "tiny_powerpc"
)  # fmt: skip


def by_invariant(violations: list[Violation]) -> dict[str, set[PfnRange]]:
    """Where each invariant is broken, whatever known defect it is put down to."""
    found: dict[str, set[PfnRange]] = {}
    for violation in violations:
        found.setdefault(violation.invariant, set()).update(violation.pfns)
    return {name: joined(name, pfns) for name, pfns in found.items()}


def joined(name: str, pfns: set[PfnRange]) -> set[PfnRange]:
    """Rows are put down to defects one by one, so that neighbours may be apart."""
    return set(merge_ranges(sorted(pfns))) if INVARIANTS[name].always else pfns


def judged_afresh(kernel: Kernel, milestone: str) -> dict[str, set[PfnRange]]:
    """Every invariant, every walker, every row: no memory."""
    x = kernel.extents()
    found: dict[str, set[PfnRange]] = {}
    for invariant in INVARIANTS:
        if invariant.quiescent and milestone != QUIESCENT:
            continue
        if invariant.always is not None:
            found[invariant.name] = set(x.where(invariant.always(x)))
        elif invariant.law is not None:
            found[invariant.name] = set(invariant.law(x))
    return {name: pfns for name, pfns in found.items() if pfns}


class Distrusted(Checker):
    """Compares each of its looks with one that remembers nothing."""

    def look(self, milestone: str, state: bytes | None = None) -> list[Violation]:
        found = super().look(milestone, state)
        assert by_invariant(found) == judged_afresh(self.kernel, milestone)
        ASKED.add(self._view(self.take_state()).asks)
        return found

    def _rows(self, x: Extents, kind: bytes) -> Keys:
        keys = super()._rows(x, kind)
        if not x.rows_are_known:
            ASKED_OF_NEW_ROWS.add(x.asks)
        return keys


ASKED: set[Sees] = set()
"""How much was asked for."""
ASKED_OF_NEW_ROWS: set[Sees] = set()
"""The same, where some row held what was not judged before."""


@pytest.mark.parametrize("rules", RULES)
def test_a_checker_that_remembers_sees_what_one_that_forgets_sees(rules: str) -> None:
    sound: dict[str, set[bytes]] = {geometry: set() for geometry in GEOMETRIES}
    ASKED.clear()
    ASKED_OF_NEW_ROWS.clear()
    for seed, name in enumerate(LAYOUTS.names() * 2):
        geometry = GEOMETRIES[seed % len(GEOMETRIES)]
        checker = Distrusted(boot(name, geometry, RULES[rules]), sound=sound[geometry])
        checker.boot()
        for _ in walk(checker, seed, 5):
            pass
    assert {Sees.ROW, Sees.ISOLATION, Sees.NOTHING} <= ASKED
    # Of a new row that walkers may see none that sees no more is asked.
    assert {Sees.ROW, Sees.NOTHING} <= ASKED_OF_NEW_ROWS
    assert Sees.SECTION in ASKED or rules == "pfn_valid"


class AskedLittle(Checker):
    """Compares each of its looks with one that remembers nothing, in what it is asked."""

    seen: ClassVar[set[str]] = set()

    def look(self, milestone: str, state: bytes | None = None) -> list[Violation]:
        found = super().look(milestone, state)
        afresh = judged_afresh(self.kernel, milestone)
        asked = {each.name for each in self._at_rest.asked}
        hidden = must_not_see(self.kernel.extents())
        wrong = [each.wrong_to_see for each in INVARIANTS if each.wrong_to_see is not None]
        assert not any((rows(self.kernel.extents()) & ~hidden).any() for rows in wrong)
        assert by_invariant(found) == {n: pfns for n, pfns in afresh.items() if n in asked}
        self.seen.update(violation.invariant for violation in found)
        return found


def test_a_checker_that_is_asked_little_looks_at_no_more_and_misses_nothing() -> None:
    every = [each for each in INVARIANTS if each.across is None]
    AskedLittle.seen.clear()
    for seed in range(40):
        choose = Random(seed)
        geometry, name = choose.choice(GEOMETRIES), choose.choice(LAYOUTS.names())
        kernel = boot(name, geometry, RULES[choose.choice(["v5.4", "pfn_valid"])])
        few = choose.sample(every, 8)
        checker = AskedLittle(kernel, invariants=few)
        for _ in walk(checker, seed, 4):
            pass
        for corrupt in choose.sample(CORRUPTIONS, 4):
            corrupt(checker.kernel, choose)
            checker.kernel.pfns.merge()
            checker.look(QUIESCENT)
        reads = {name for each in few for name in each.reads}
        assert set(checker._parts) == {of_kernel.FACTS.get(name, (name,))[0] for name in reads}
    assert len(AskedLittle.seen) > 5


def test_where_nothing_is_wrong_to_see_no_row_is_judged_and_nothing_missed() -> None:
    judged: set[bool] = set()
    AskedLittle.seen.clear()
    asking = [each for each in INVARIANTS if each.wrong_to_see is not None]
    assert asking == [each for each in INVARIANTS if each.sees > Sees.ROW]
    for seed, invariant in enumerate(asking * 8):
        choose = Random(seed)
        name, rules = choose.choice(LAYOUTS.names()), choose.choice(["v5.4", "pfn_valid"])
        checker = AskedLittle(boot(name, rules=RULES[rules]), invariants=[invariant])
        checker.boot()
        judged.add(checker.judged_by_row)
        for _ in walk(checker, seed, 4):
            pass
        checker.kernel.pfns.write(pages(0, 2), linear_map=LinearMap.NONE)
        checker.look(QUIESCENT)
        checker.kernel.pfns.write(pages(2, 4), content=PageContent.STALE)
        checker.kernel.pfns.write(pages(4, 6), memmap=MemmapOrigin.NONE)
        checker.kernel.pfns.write(pages(6, 8), content=PageContent.ZEROED)
        checker.look(QUIESCENT)
    assert judged == {False, True}
    assert AskedLittle.seen == {each.name for each in asking}


def test_what_is_not_asked_about_is_seen_as_it_is() -> None:
    checker = Checker(boot(), invariants=[INVARIANTS["vmemmap_is_freed_once"]])
    state = checker.take_state()
    assert not checker._view(state).is_zone_device.any()
    do(checker.kernel, device(pages(12, 14)))
    assert checker.take_state() == state
    assert checker._view(state).is_zone_device.any()


def test_who_sees_the_whole_machine_is_asked_about_what_is_known() -> None:
    def far_sighted(x: Extents) -> ExtentMask:
        """Takes device memory for RAM while a page of another block is held."""
        return x.is_zone_device & bool(x.refcount[x.row_at(4)] > 0)

    walker("mm/elsewhere.c", believes="RAM", sees=Sees.MACHINE)(far_sighted)
    try:
        sound: set[bytes] = set()
        in_the_hole, held = device(pages(12, 14)), PinPages(pages(4, 5))
        assert found_by((in_the_hole,), sound) == [[]]
        assert found_by((held,), sound) == [[]]
        before, last = found_by((in_the_hole, held), sound)
        assert before == []
        assert {each.invariant for each in last} == {"walkers_take_no_zone_device_page"}
    finally:
        WALKERS.discard("far_sighted")
        READERS.discard("far_sighted")


def found_by(ops: tuple[Op, ...], sound: set[bytes]) -> list[list[Violation]]:
    """What each of *ops* broke."""
    checker = Checker(boot(), sound=sound)
    return [checker.apply(op).violations for op in ops]


# Where the same rows are sound here and broken there


def some_pfns(kernel: Kernel, choose: Random) -> PfnRange:
    """A range in the window, mostly of whole pageblocks."""
    window, size = choose.choice(kernel.layout.window), kernel.geometry.pageblock_nr_pages
    unit = choose.choice([1, size, size, kernel.geometry.pages_per_section])
    cuts = range(window.start_pfn, window.end_pfn + 1, unit)
    start, end = sorted((choose.randrange(len(cuts)), choose.randrange(len(cuts))))
    return PfnRange(cuts[start], cuts[end])


def move_pages(kernel: Kernel, choose: Random) -> None:
    """What one pfn has, elsewhere."""
    pfn = some_pfns(kernel, choose).start_pfn
    values = {name: kernel.pfns.at(pfn, name) for name in COLUMNS}
    kernel.pfns.write(some_pfns(kernel, choose), **values)


def move_zone(kernel: Kernel, choose: Random) -> None:
    """The span of a zone, without its pages; sometimes the zone counts as populated."""
    zone = kernel.zone(choose.choice(list(kernel.nodes)), choose.choice(list(ZoneType)))
    set_span(zone, some_pfns(kernel, choose))
    zone.present_pages += choose.choice([0, 0, 2])


def take_lock(kernel: Kernel, choose: Random) -> None:
    """An operation is in flight."""
    hold(kernel, "mem_hotplug_lock")


def move_system_ram(kernel: Kernel, choose: Random) -> None:
    """A System RAM region goes, or comes."""
    kernel.iomem.release_adjustable(some_pfns(kernel, choose))
    kernel.iomem.request(Resource(SYSTEM_RAM, some_pfns(kernel, choose)))


def cook_the_books(kernel: Kernel, choose: Random) -> None:
    """Vmemmap, or what the ledger says of it, is wrong, and no row shows it."""
    pages = kernel.geometry.memmap_of(some_pfns(kernel, choose))
    ways: tuple[Callable[[], object], ...] = (
        lambda: kernel.ledger.allocated(choose.choice(list(MemmapOrigin)), 1),
        lambda: kernel.ledger.breach(choose.choice(list(Law)), some_pfns(kernel, choose)),
        lambda: kernel.vmemmap.write(pages, level=choose.choice(list(MappingLevel))),
        lambda: kernel.vmemmap.write(pages, origin=choose.choice(list(MemmapOrigin))),
    )
    choose.choice(ways)()


CORRUPTIONS = (move_pages, move_zone, take_lock, move_system_ram, cook_the_books)


@pytest.mark.parametrize("rules", ["mainline", "v5.4", "pfn_valid"])
@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda corrupt: corrupt.__name__)
def test_what_was_sound_is_judged_again_where_it_may_be_broken(
    corrupt: Callable[[Kernel, Random], None], rules: str
) -> None:
    sound: dict[str, set[bytes]] = {geometry: set() for geometry in GEOMETRIES}
    ASKED.clear()
    for seed in range(24, 48):
        choose = Random(seed)
        geometry, name = choose.choice(GEOMETRIES), choose.choice(LAYOUTS.names())
        checker = Distrusted(boot(name, geometry, RULES[rules]), sound=sound[geometry])
        for _ in walk(checker, seed, 2):
            pass
        corrupt(checker.kernel, choose)
        checker.kernel.pfns.merge()
        checker.look("midway")
        checker.look(QUIESCENT)
    assert {Sees.ROW} < ASKED


# What walkers see


@pytest.mark.parametrize("rules", RULES)
def test_walkers_say_the_same_of_what_looks_the_same_to_them(rules: str) -> None:
    said: dict[tuple[str, bytes], object] = {}
    for seed, name in enumerate(LAYOUTS.names()):
        checker = Checker(boot(name, rules=RULES[rules]))
        for _ in walk(checker, seed, 6):
            x = checker.kernel.extents()
            keys = Keys(x)
            for asked_of, scan in SCANS:
                answers = scan(x).tolist()
                groups = [[each] for each in answers]
                if asked_of.sees == Sees.SECTION:
                    groups = [answers[first:end] for first, end in pairwise(keys.ends)]
                asked = keys.rows if asked_of.sees == Sees.ROW else keys.clusters
                for key, answer in zip(asked, groups, strict=True):
                    assert said.setdefault((asked_of.name + scan.__name__, key), answer) == answer


SCANS = [
    (walker, scan)
    for walker in WALKERS
    if walker.sees <= Sees.SECTION
    for scan in (walker.reads, walker.takes, walker.copies)
    if scan is not None
]


@pytest.mark.parametrize("rules", RULES)
def test_who_sees_a_row_looks_at_no_other(rules: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_around(x: Extents, pfns: Pfns) -> Pfns:
        raise AssertionError("looks at another row")

    scans = [scan for walker, scan in SCANS if walker.sees == Sees.ROW]
    scans += [each.always for each in INVARIANTS if each.always and each.sees == Sees.ROW]
    for seed, name in enumerate(LAYOUTS.names()):
        checker = Checker(boot(name, rules=RULES[rules]))
        for _ in walk(checker, seed, 3):
            with monkeypatch.context() as patched:
                patched.setattr(Extents, "row_of", look_around)
                for scan in (*scans, *CONTENTS):
                    scan(checker.kernel.extents())


# One fact of a row at a time, asked by an invariant that looks at pages held three times

MARK = 3


@dataclass(frozen=True)
class Fact:
    """What a verdict may depend on: *before* is sound, *after* it is not.

    Without the mark both are, so that nothing but the marked rows is new in the end.
    """

    holds: Callable[[Extents], ExtentMask]
    before: Callable[[Kernel], object]
    after: Callable[[Kernel], object]
    of: str = "collision"


def mark(start: int, end: int) -> Callable[[Kernel], object]:
    """The pages, and no others, are held three times."""

    def write(kernel: Kernel) -> None:
        kernel.pfns.write(kernel.geometry.all_pfns, refcount=0)
        kernel.pfns.write(PfnRange(start, end), refcount=MARK)

    return write


def spans(start: int, end: int) -> Callable[[Kernel], object]:
    """ZONE_NORMAL and its node reach so far, and may have holes."""

    def write(kernel: Kernel) -> None:
        set_span(kernel.zone(0, ZoneType.ZONE_NORMAL), PfnRange(start, end))
        clear_zone_contiguous(kernel, 0, ZoneType.ZONE_NORMAL)
        kernel.nodes[0].node_spanned_pages = end

    return write


def device_spans(start: int) -> Callable[[Kernel], object]:
    """ZONE_DEVICE, which is never populated, reaches from here."""

    def write(kernel: Kernel) -> None:
        set_span(kernel.zone(0, ZoneType.ZONE_DEVICE), PfnRange(start, 96))
        kernel.nodes[0].node_spanned_pages = 96

    return write


def both(*changes: Callable[[Kernel], object]) -> Callable[[Kernel], object]:
    return lambda kernel: [change(kernel) for change in changes]


def multiple(name: str) -> Callable[[Extents], ExtentMask]:
    return lambda x: x.holds_multiple_of(getattr(x.geometry, name))


def wholly_inside(x: Extents) -> ExtentMask:
    return x.end_pfn <= x.kernel.zone(0, ZoneType.ZONE_NORMAL).span.end_pfn


# Sections of 32 pages, the largest chunk of 8, pageblocks of 4; [64-96) is absent.
FACTS = {
    "a largest buddy chunk": Fact(multiple("max_order_nr_pages"), mark(76, 80), mark(72, 76)),
    "a section": Fact(
        multiple("pages_per_section"), mark(72, 76), mark(96, 100), of="large-blocks"
    ),
    "a memory block": Fact(
        lambda x: x.holds_multiple_of(x.kernel.pages_per_block), mark(96, 100), mark(64, 68),
        of="large-blocks",
    ),
    "some of it in a zone": Fact(in_zone_span, mark(64, 96), spans(4, 80)),
    "all of it in its own zone": Fact(
        lambda x: x.beyond_zone_span,
        both(mark(64, 68), lambda k: k.pfns.write(PfnRange(64, 68), zone=4), device_spans(64)),
        device_spans(68),
    ),
    "all of it in a zone": Fact(
        wholly_inside, both(mark(64, 96), spans(4, 80)), spans(4, 96)
    ),
    "the lock": Fact(
        lambda x: x.nr_pages * (not x.kernel.locks.mem_hotplug) > 0,
        both(mark(64, 68), lambda k: hold(k, "mem_hotplug_lock")),
        lambda k: k.locks.drop("mem_hotplug_lock"),
    ),
    "where zones begin": Fact(
        lambda x: visits(x, x.geometry.pageblock_nr_pages),
        both(mark(65, 66), spans(3, 96)), spans(1, 96),
    ),
    "System RAM": Fact(
        lambda x: x.touched(x.kernel.iomem.named(SYSTEM_RAM)), mark(64, 68),
        lambda k: k.iomem.request(Resource(SYSTEM_RAM, PfnRange(64, 96))),
    ),
}  # fmt: skip


@pytest.fixture
def marked() -> Iterator[Callable[[Fact], None]]:
    """Registers an invariant that judges marked rows by one fact."""

    def register(fact: Fact) -> None:
        def check(x: Extents) -> ExtentMask:
            rows: ExtentMask = (x.refcount == MARK) & fact.holds(x)
            return rows

        INVARIANTS.add("marked", Invariant(name="marked", doc="Marked.", always=check))

    yield register
    INVARIANTS.discard("marked")


@pytest.mark.parametrize("name", FACTS)
def test_rows_that_differ_in_one_fact_only_are_told_apart(
    name: str, marked: Callable[[Fact], None]
) -> None:
    fact = FACTS[name]
    marked(fact)
    sound: set[bytes] = set()
    after = (fact.before, fact.after)
    for changes in ((fact.before,), (*after, mark(0, 0)), after):
        kernel = boot(fact.of, "small")
        both(*changes)(kernel)
        kernel.pfns.merge()
        found = by_invariant(Checker(kernel, sound=sound).look("midway"))
        assert found == judged_afresh(kernel, "midway")
    assert found.keys() == {"marked"}


class Watched:
    """A kernel, and the names of its parts that are asked for."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.asked: set[str] = set()

    def __getattr__(self, name: str) -> object:
        method = getattr(Kernel, name, None)
        if isinstance(method, FunctionType):
            return method.__get__(self)
        if isinstance(method, property):
            assert method.fget is not None
            return method.fget(self)
        self.asked |= {name} & set(PARTS)
        return getattr(self.kernel, name)


class WatchedTable:
    """Its table of pfns."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched

    def __getattr__(self, name: str) -> object:
        self.watched.asked.add("pfns")
        return getattr(self.watched.kernel.pfns, name)


LAWS = tuple(invariant.name for invariant in INVARIANTS if invariant.law)


@pytest.mark.parametrize("name", LAWS)
def test_a_law_reads_no_part_that_it_does_not_name(name: str) -> None:
    invariant = INVARIANTS[name]
    assert invariant.law is not None
    for layout, geometry in (("collision", "tiny"), ("memmap-on-memory", "tiny_56")):
        checker = Checker(boot(layout, geometry))
        for _ in walk(checker, 3, 12):
            watched = Watched(checker.kernel)
            x = Extents(cast(Kernel, watched))
            x._table = cast(PfnTable, WatchedTable(watched))
            watched.asked.clear()
            invariant.law(x)
            assert watched.asked <= invariant.reads


def test_a_law_names_parts_that_there_are() -> None:
    with pytest.raises(ValueError, match="no parts of a kernel: pages"):
        law(reads="pfns pages")


def test_the_parts_are_those_that_are_listed() -> None:
    kernel = boot()
    every = parts_of(kernel)
    assert list(every) == list(PARTS)
    assert parts_of(kernel, ["ledger", "pfns"]) == {n: every[n] for n in ("ledger", "pfns")}
    assert {part for part, _ in of_kernel.FACTS.values()} < set(PARTS)


def test_two_checkers_of_one_machine_report_the_same_in_the_same_order() -> None:
    sound: set[bytes] = set()
    for seed, name in enumerate(LAYOUTS.names()):
        checker = Checker(boot(name, rules=RULES["v5.4"]), sound=sound)
        for _ in walk(checker, seed, 4):
            assert checker.look(QUIESCENT) == Checker(checker.kernel).look(QUIESCENT)
