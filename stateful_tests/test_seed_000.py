"""The series of 2019 on the machine: each of its patches left out, and what that breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotplug_model.audit import Verdict, audit
from hotplug_model.changes import CHANGES, KernelVariant
from hotplug_model.changes.proposal_seed_000 import (
    CALLBACKS,
    DECIDES_WORSE,
    PATCHES,
    UNNOTICED,
)
from hotplug_model.checker import Checker
from hotplug_model.page_state import PageState
from hotplug_model.trace import Trace, replay
from hotplug_model.users import USERS
from hotplug_model.users.wrong_before import (
    NONE,
    WRONG_BEFORE,
    WRONG_UNMARKED,
    worse_than_before,
    wrong_before,
)
from stateful_tests.kernels import C, boot, device, do, walk
from stateful_tests.test_changes import REGRESSIONS

WHOLE = KernelVariant.named(None, ("seed000",))
NOTICED = [name for name in PATCHES if name not in UNNOTICED]
PREPARED = [name for name in NOTICED if name != "holes"]


def trace_of(change: str) -> Trace:
    return Trace.loads(Path(REGRESSIONS, f"{change}.json").read_text())


def worse(kernel_of: Trace) -> set[str]:
    """The rules of the users that decide worse behind a trace."""
    checker = kernel_of.machine()
    checker.boot()
    for event in kernel_of.events:
        checker.apply(event)
    x, found = checker.kernel.extents(), set()
    assert worse_than_before(x).any()
    for of in USERS:
        others = checker.kernel.snapshot()
        others.rules = WHOLE.rules()
        form, whole = of.form(x.kernel.rules), of.form(others.rules)
        if form is not None and whole is not None and (form.says(x) != whole.says(x)).any():
            found.add(str(of.rule))
    return found


@pytest.mark.parametrize("name", NOTICED)
def test_what_a_patch_prevents_the_whole_series_survives(name: str) -> None:
    trace = trace_of(f"seed000-without-{name}")
    assert trace.violates == PATCHES[name].breaks
    assert len(trace.events) == 1
    assert replay(trace, WHOLE) == (None, [])


@pytest.mark.parametrize("name", PREPARED)
def test_it_is_the_user_of_that_patch_who_decides_worse(name: str) -> None:
    assert worse(trace_of(f"seed000-without-{name}")) == {PATCHES[name].rule}


def test_ten_of_eleven_absences_are_noticed_and_the_other_is_argued() -> None:
    assert (len(PATCHES), len(NOTICED)) == (11, 10)
    assert set(UNNOTICED) == {"ioremap"}
    assert all(len(why.split()) > 20 for why in UNNOTICED.values())


@pytest.mark.parametrize("name", UNNOTICED)
def test_of_what_nothing_can_notice_no_trace_of_the_others_breaks_anything(name: str) -> None:
    without = KernelVariant.named(None, (f"seed000-without-{name}",))
    for other in NOTICED:
        assert replay(trace_of(f"seed000-without-{other}"), without) == (None, [])


def test_the_whole_series_takes_boot_memory_for_registers() -> None:
    kernel = boot("boot-reserved", rules=WHOLE.rules())
    x = kernel.extents()
    assert x.where(worse_than_before(x)) == kernel.layout.reserved
    for change in ("seed000", "seed000-kvm-mmu", "seed000-zone-device", "seed000-system-ram"):
        assert CHANGES[change].breaks == trace_of(change).violates == DECIDES_WORSE
        assert trace_of(change).events == ()


@pytest.mark.parametrize("driver", CALLBACKS)
def test_what_a_balloon_marks_as_patch_12_wants_it_nobody_takes_for_memory(driver: str) -> None:
    trace = trace_of(f"seed000-without-{driver}")
    assert [event.op_name() for event in trace.events][1:] == ["online_memory_block"]
    assert replay(trace, KernelVariant.named(None, ("seed000-corrected",))) == (None, [])
    assert replay(trace, WHOLE)[1]
    assert replay(trace, KernelVariant.named(None, ())) == (None, [])


@pytest.mark.parametrize("change", ["seed000", "seed000-kvm-mmu", "seed000-system-ram"])
def test_with_patch_3_mended_boot_memory_is_no_registers(change: str) -> None:
    mended = KernelVariant.named(None, ("seed000-corrected",))
    assert replay(trace_of(change), mended) == (None, [])
    assert not worse_than_before(boot("boot-reserved", rules=mended.rules()).extents()).any()


def wrong_of(release: str | None, *changes: str) -> dict[str, frozenset[PageState]]:
    """What users that are handed pages decide wrongly."""
    found: dict[str, frozenset[PageState]] = {}
    for (key, state), cell in audit(KernelVariant.named(release, changes)).cells.items():
        if cell.verdict == Verdict.WRONG and USERS[key].visits is None:
            found[key] = found.get(key, frozenset()) | {state}
    return found


def test_what_was_wrong_before_is_what_the_audit_says() -> None:
    old, middle, new = wrong_of(None, "seed000-before"), wrong_of("5.4"), wrong_of("6.12")
    assert {key: old.get(key, NONE) | middle.get(key, NONE) for key in old | middle} == WRONG_BEFORE
    since_6_11 = {key: states - WRONG_BEFORE[key] for key, states in new.items()}
    assert {key: states for key, states in since_6_11.items() if states} == WRONG_UNMARKED
    assert wrong_before(KernelVariant.named("6.10", ()).rules()) is WRONG_BEFORE


@pytest.mark.parametrize("release", [None, "6.8", "5.4", "4.14"])
def test_no_release_decides_worse_on_a_random_walk(release: str | None) -> None:
    rules = KernelVariant.named(release, ()).rules()
    for seed in range(2):
        checker = Checker(boot("collision", rules=rules), invariants=())
        for _, _ in walk(checker, seed, 15):
            assert not worse_than_before(checker.kernel.extents()).any()


def test_a_device_page_is_decided_worse_about_where_one_user_was_not_prepared() -> None:
    rules = KernelVariant.named(None, ("seed000-without-gasket",)).rules()
    kernel = boot(rules=rules)
    assert not worse_than_before(kernel.extents()).any()
    assert do(kernel, device(C, kind="fs_dax")) is None
    x = kernel.extents()
    assert x.where(worse_than_before(x)) == (C,)
