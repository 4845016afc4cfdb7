"""Changes on a walk: what they break is known, and what holds holds."""

from __future__ import annotations

import pytest

from hotplug_model.changes import CHANGES
from hotplug_model.changes.change import Change
from hotplug_model.checker import Violation
from hotplug_model.hunt import request_for
from hotplug_model.invariants import INVARIANTS
from hotplug_model.ops import drawn_ops
from hotplug_model.together import draw_one
from hotplug_model.walk import SeededChooser

STEPS, LENGTH = 480, 40
CONFLICTS = "a08a2ae34613"
"""Cannot be undone alone."""

STALE, DEVICE = "walkers_take_no_stale_page", "walkers_take_no_zone_device_page"
ALSO: dict[str, set[str]] = {
    "without-e6ab9c4d4377": {"altmaps_account_for_what_they_gave"},
    "existing-root-fails": {"requests_that_are_granted_are_carried_out"},
    "seed000-without-holes": {DEVICE},
    "seed001-taint-only": {STALE, DEVICE, "refusals_leave_the_machine_alone"},
    "seed001-slow-path": {STALE, DEVICE},
    "seed003-removal-of-another": {"altmaps_account_for_what_they_gave"},
    "seed003-flags-on-ram": {
        "memory_is_read_through_the_linear_map", "memory_is_removed_as_what_it_was_added",
        "the_linear_map_ends_with_its_memory",
    },
    "seed004-errors-dropped": {"unused_vmemmap_is_freed"},
    "contiguous-counted": {STALE},
}
"""What else a proposal or an injected bug breaks, on other ways than its kept trace shows."""


def broken_on_a_walk(change: Change, nr_steps: int = STEPS) -> set[str]:
    """Names of the invariants that *change* breaks on random operations, each of which is taken
    back if it breaks something. In half of the examples allocations fail."""
    request = request_for(change.name, 0)
    kinds, layouts = tuple(drawn_ops().values()), list(request.layouts)
    found: list[Violation] = []
    for example in range(nr_steps // LENGTH):
        checker = request.booted(layouts[example % len(layouts)]).machine()
        found += checker.boot()
        choose = SeededChooser(0, example)
        faults = choose.index(2) == 1
        for _ in range(LENGTH):
            op = draw_one(checker.kernel, kinds, choose, faults)
            before = checker.kernel.snapshot()
            if broken := checker.apply(op).violations:
                found += broken
                checker.kernel = before
    return {violation.invariant for violation in found}


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    "change", [c for c in CHANGES if not c.breaks and c.name != CONFLICTS], ids=lambda c: c.name
)
def test_what_breaks_nothing_holds_on_a_walk(change: Change) -> None:
    assert broken_on_a_walk(change) == set()


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    "change", [c for c in CHANGES if c.breaks and not c.shipped and not c.races],
    ids=lambda c: c.name,
)  # fmt: skip
def test_a_proposal_breaks_on_a_walk_only_what_it_says(change: Change) -> None:
    assert broken_on_a_walk(change) <= {*change.breaks, *ALSO.get(change.name, ())}


def test_a_walk_sees_what_is_broken() -> None:
    seen = broken_on_a_walk(CHANGES["seed000-without-kvm"])
    assert seen == set(CHANGES["seed000-without-kvm"].breaks)


def test_what_else_is_broken_is_said_of_changes_that_break_something() -> None:
    assert all(not names & set(CHANGES[change].breaks) for change, names in ALSO.items())
    assert all(names <= set(INVARIANTS.names()) for names in ALSO.values())
