"""Changes: each commit undone is noticed by exactly the invariants that it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import (
    CHANGES,
    RELEASES,
    KernelVariant,
    VariantConflict,
    change_called,
    find_change,
)
from hotplug_model.changes.change import Change
from hotplug_model.cli import make_parser
from hotplug_model.commands.arguments import settle
from hotplug_model.defects import DEFECTS
from hotplug_model.errors import UserError
from hotplug_model.explore import shortest
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.invariants import INVARIANTS
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.rules import KernelRules
from hotplug_model.trace import Trace, broken, replay

REGRESSIONS = Path(__file__).parent.parent / "regressions"
TRACES = {path.stem: Trace.loads(path.read_text()) for path in sorted(REGRESSIONS.glob("*.json"))}
FIXES = [change for change in CHANGES if change.breaks]


def blank(layout: str, release: str | None = None, changes: tuple[str, ...] = ()) -> Trace:
    """A machine without events, at the tiny geometry."""
    boot = LAYOUTS[layout](GEOMETRIES["tiny"])
    return Trace(geometry="tiny", boot=boot, release=release, changes=changes)


@pytest.mark.parametrize("change", FIXES, ids=lambda change: change.name)
def test_a_regression_shows_what_undoing_each_fix_breaks(change: Change) -> None:
    wanted = (*change.needs, change.name)
    traces = [trace for trace in TRACES.values() if trace.changes == wanted]
    shown = {trace.violates for trace in traces}
    assert {trace.geometry for trace in traces} == {change.geometry}
    assert any(event.fail_at for trace in traces for event in trace.events) == change.faults
    assert change.breaks in shown or change.name == "seed001-taint-only"
    assert set(change.breaks) <= set(INVARIANTS.names())


@pytest.mark.parametrize("poisoning", [True, False])
def test_the_first_patch_of_the_thread_shows_poison_or_a_stale_page(poisoning: bool) -> None:
    trace = TRACES["seed001-taint-only"]
    boot = replace(trace.boot, page_poisoning=poisoning)
    _, found = replay(replace(trace, boot=boot))
    read, believed = "walkers_read_no_poisoned_page", "walkers_take_no_stale_page"
    assert broken(found) == ((read,) if poisoning else (believed,))


@pytest.mark.unmeasured
@pytest.mark.parametrize("change", [c for c in CHANGES if not c.breaks], ids=lambda c: c.name)
def test_what_is_no_fix_survives_every_regression(change: Change) -> None:
    needed = ("6b8f0798b85a",) if change.name == "a08a2ae34613" else change.needs
    changes = (*needed, change.name)
    variant = KernelVariant.named(None, changes)
    sound: dict[str, set[bytes]] = {name: set() for name in GEOMETRIES.names()}
    for trace in TRACES.values():
        if not trace.strict:
            assert replay(trace, variant, sound[trace.geometry]) == (None, [])


@pytest.mark.parametrize("name", DEFECTS.names())
def test_every_known_defect_has_a_trace_on_mainline_or_on_what_had_it(name: str) -> None:
    kind = "accepted" if DEFECTS[name].accepted else "defect"
    trace = TRACES[f"{kind}-{name}"]
    assert (trace.strict, trace.release, trace.changes) == (True, None, DEFECTS[name].undone)
    checker = replace(trace, strict=False).machine()
    outcomes = [checker.apply(event) for event in trace.events]
    assert not any(outcome.violations for outcome in outcomes)
    assert name in {violation.defect for violation in outcomes[-1].known}


def test_the_collision_takes_one_operation_and_no_fewer_on_5_11() -> None:
    for layout in LAYOUTS.names():
        assert not blank(layout, "5.11").machine().boot() or layout == "holes-in-zone"
    found = shortest(blank("collision", "5.11"), 1)
    assert found is not None
    assert [event.op_name() for event in found.events] == ["memremap_pages"]
    assert "walkers_take_no_zone_device_page" in found.violates


@pytest.mark.unmeasured
@pytest.mark.parametrize("layout", ["collision", "stale", "memmap-on-memory"])
def test_no_single_operation_breaks_mainline(layout: str) -> None:
    assert shortest(blank(layout), 1) is None


def test_a_release_is_mainline_without_what_is_newer() -> None:
    newer = {change.name for change in KernelVariant.named("6.14", ()).undone}
    assert newer == {
        "03a2cc1756a0", "2fac4afa0e2e", "38607c62b34b", "a2b8d7827f48", "b7e282378773",
        "cd681403a870", "d438d2734170", "6659d0279980", "c7bde43f6daf", "compound-pageblocks",
    }  # fmt: skip
    assert KernelVariant.named("6.14", (), tuple(newer)).rules() == MAINLINE
    old = {change.name for change in KernelVariant.named("5.11", ()).undone}
    assert {"1f90a3477df3", "9f9b02e5b346", "395f6081bad4"} <= old
    assert not old & {"feee6b298916", "2d070eab2e82"}


def test_a_backport_keeps_a_newer_commit() -> None:
    kept = KernelVariant.named("5.11", (), ("1f90a3477df3",)).rules()
    assert kept.section_taint_zone_device
    assert kept.online_checks_subsection == "never"


def test_undoing_what_a_newer_commit_builds_on_is_a_conflict() -> None:
    with pytest.raises(VariantConflict, match="6b8f0798b85a"):
        KernelVariant.named(None, ("a08a2ae34613",)).rules()
    both = KernelVariant.named(None, ("a08a2ae34613", "6b8f0798b85a")).rules()
    assert both.memmap_on_memory == "absent"


def test_changes_are_applied_newest_first_whatever_their_order() -> None:
    names = ("6b8f0798b85a", "a08a2ae34613")
    variants = [KernelVariant.named(None, each).rules() for each in (names, names[::-1])]
    assert variants[0] == variants[1]


@pytest.mark.parametrize("name", ["1f90a3477df", "no:such", "os:getcwd", "hotplug_model:nothing"])
def test_an_unusable_change_is_one_line(name: str) -> None:
    with pytest.raises(UserError) as refused:
        find_change(name)
    assert "\n" not in str(refused.value)


def test_an_id_that_begins_two_changes_is_refused() -> None:
    names = ["abcdef012345", "abcdef099999"]
    for name in names:
        CHANGES.add(name, find_change(f"{__name__}:without_taint"))
    try:
        assert change_called(f"{names[0]}678") == names[0]
        with pytest.raises(UserError, match="'abcdef0' may be any of abcdef012345, abcdef099999"):
            change_called("abcdef0")
    finally:
        for name in names:
            CHANGES.discard(name)


def test_an_unknown_release_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"5\.1\d"):
        KernelVariant.named("5.1x", ())
    assert "6.13" in RELEASES


def without_taint(rules: KernelRules) -> KernelRules:
    """A user's own patch."""
    return replace(rules, section_taint_zone_device=False)


def test_a_user_s_own_change_is_found_by_module_and_function() -> None:
    change = find_change(f"{__name__}:without_taint")
    assert change.rewrite(MAINLINE) == replace(MAINLINE, section_taint_zone_device=False)
    assert change.subject == "A user's own patch."


@pytest.mark.parametrize(
    ("words", "geometry", "faults"),
    [
        (["--change", "d4234d131b0a"], "tiny_arm64", False),
        (["--change", "d4234d131b0a", "--geometry", "tiny"], "tiny", False),
        (["--change", "2fac4afa0e2e"], "tiny", True),
        (["--change", "d4234d131b0a", "--change", "c1a6c536fb08"], "tiny", False),
        ([], "tiny", False),
    ],
)
def test_a_check_goes_where_the_change_shows(
    words: list[str], geometry: str, faults: bool
) -> None:
    args = make_parser().parse_args(["check", *words])
    settle(args)
    assert (args.geometry, args.faults) == (geometry, faults)
