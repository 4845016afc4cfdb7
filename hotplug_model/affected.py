"""Which releases have which of the bugs that are known: each regression on each release."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hotplug_model.changes import CHANGES, RELEASES, Change, KernelVariant
from hotplug_model.changes.change import Release
from hotplug_model.invariants import INVARIANTS
from hotplug_model.trace import Trace, broken

ASKED = (
    "4.9", "4.14", "4.20", "5.3", "5.4", "5.6", "5.8", "5.10", "5.12", "5.14", "5.19", "6.1", "6.5",
    "6.8", "6.12", "6.13",
)  # fmt: skip
"""The releases that are asked."""

INTRODUCED: dict[str, Release] = {
    "1f90a3477df3": (5, 3),
    "9f9b02e5b346": (5, 3),
    "d41e2f3bd546": (5, 3),
    "d4234d131b0a": (5, 3),
    "ef69bc9f689d": (5, 3),
    "46b1ee38b2ba": (5, 4),
    "641fe2e9387a": (4, 13),
    "feee6b298916": (4, 13),
    "f42ce5f087eb": (5, 13),
    "001002e73712": (5, 13),
    "03a2cc1756a0": (6, 2),
    "7cf209ba8a86": (4, 13),
    "a2b8d7827f48": (6, 6),
    "5ec8e8ea8b77": (5, 3),
    "82f0b6f041fa": (5, 3),
    "4aa9fc2a435a": (4, 20),
    "bbd6ec605c0f": (5, 0),
    "eeb0753ba27b": (5, 7),
    "cf387d9644d8": (5, 3),
    "01c8d337d195": (5, 12),
    "1f503443e7df": (5, 3),
    "6659d0279980": (5, 13),
    "af288a426c3e": (5, 0),
    "memmap-by-pfn-to-page": (5, 3),
    "read-page-owner-asks-pfn-valid": (5, 3),
}
"""The first release with the bug, where its fix says so: 5.3 has commit ba72b4c8cf60
("mm/sparsemem: support sub-section hotplug"), 4.13 commit f1dd2cd13c4b ("mm,
memory_hotplug: do not associate hotadded memory to zones until online"), 4.20 commit
2830bf6f05fb ("mm, memory_hotplug: initialize struct pages for the full memory section"),
5.13 commit a08a2ae34613 ("mm,memory_hotplug: allocate memmap from the added memory range"),
6.2 commit 5033091de814 ("mm/hwpoison: introduce per-memory_block hwpoison counter"), 6.6
commit 1a8c64e11043 ("mm/memory_hotplug: embed vmem_altmap details in memory block"),
5.0 commit 4ab215061554 ("arm64: Add memory hotplug support"). ZONE_DEVICE came to arm64 in 5.7,
with commit bbd6ec605c0f ("arm64/mm: Enable memory hot remove"). cf387d9644d8 names commit
7cc7867fb061 ("mm/devm_memremap_pages: enable sub-section remap") (in v5.3), 01c8d337d195 commit
1f90a3477df3 (in v5.12), 6659d0279980 commit 8d400913c231 (in v5.13), af288a426c3e commit
b15c87263a69 (in v5.0), 46b1ee38b2ba commit 6f42193fd86e (in v5.4).
Of the others only is known which release does not have them any more."""

BEFORE_5_13 = tuple(name for name in ASKED if RELEASES[name] < (5, 13))
BEFORE_5_19 = tuple(name for name in ASKED if RELEASES[name] < (5, 19))
DEDUP = "what it corrects is there since commit 4917f55b4ef9 (in v5.19)"
ARM64_LACKS = "its trace is on arm64, which has no ZONE_DEVICE before commit bbd6ec605c0f (in v5.7)"
SET_UP_AT_ADD = "struct pages of what is added are set up soon after, before 4.13, but not at once"
SPANNED_AT_ADD = "before 4.13 a zone spans what is added at once, and until it is removed"
DEVICE_FIRST = "its walker looks for device pages as since commit 96c804a6ae8c (in v5.4)"
ONLINE_UNLOCKED = "onlining takes no mem_hotplug_lock before commit 381eab4a6ee8 (in v4.20)"
INTO_THE_HOLE = "its trace maps a device into the hole, which takes commit 7cc7867fb061 (in v5.3)"
PARTS = "its trace maps parts of a section, which takes commit 7cc7867fb061 (in v5.3)"
DISAGREEMENTS: dict[str, tuple[tuple[str, ...], str]] = {
    "2fac4afa0e2e": (
        BEFORE_5_13, "what it corrects is there since commit a08a2ae34613 (in v5.13)"
    ),
    "87a7ae75d738": (BEFORE_5_19, DEDUP),
    "c1a6c536fb08": (BEFORE_5_19, DEDUP),
    "cd681403a870": (BEFORE_5_19, DEDUP),
    "c5e79ef561b0": (("4.9", "4.14", "4.20"), INTO_THE_HOLE),
    "395f6081bad4": (("4.9", "4.14", "4.20"), INTO_THE_HOLE),
    "compound-pageblocks": (("4.9", "4.14", "4.20"), PARTS),
    "71389703839e": (("4.9",), INTO_THE_HOLE),
    "ca2c36cae9d4": (("4.9", "4.14", "4.20"), PARTS),
    "d4234d131b0a": (
        ("5.3", "5.4", "5.6", "5.8", "5.10"),
        f"{ARM64_LACKS}; later pfn_valid() denies its device until commit eeb0753ba27b (in v5.12)",
    ),
    "ef69bc9f689d": (("5.3", "5.4", "5.6"), ARM64_LACKS),
    "641fe2e9387a": (("4.9",), SET_UP_AT_ADD),
    "5ec8e8ea8b77": (("5.3",), DEVICE_FIRST),
    "82f0b6f041fa": (("5.3",), DEVICE_FIRST),
    "50f44ee7248a": (("4.9", "4.14", "4.20"), DEVICE_FIRST),
    "34dc45be4563": (("4.9", "4.14", "4.20", "5.3"), DEVICE_FIRST),
    "001002e73712": (("4.9", "4.14"), ONLINE_UNLOCKED),
    "8df1d0e4a265": (("4.9", "4.14"), ONLINE_UNLOCKED),
    "b1d5488a252d": (
        tuple(name for name in ASKED if RELEASES[name] < (5, 12)),
        "its schedule counts a milestone that pfn_to_online_page() has since commit 9f9b02e5b346 "
        "(in v5.12)",
    ),
    "feee6b298916": (("4.9",), SPANNED_AT_ADD),
    "c7bde43f6daf": (
        ("4.9",), "there what its trace adds does not go online movable: it has its zone by then"
    ),
    "5033091de814": (
        ("4.9", "4.14", "4.20"),
        "its trace takes a broken page offline, which needs commit b15c87263a69 (in v5.0)",
    ),
    "a2b8d7827f48": (
        ("5.14", "5.19", "6.1", "6.5"),
        "there its trace breaks the same for want of commit f42ce5f087eb (in v6.7)",
    ),
    "poison-counted-in-memmap": (
        ("4.9", "4.14", "4.20", "5.3", "5.4"),
        "its trace takes memmaps to be overwritten when offline: commit d33695b16a9f (in v5.6)",
    ),
}  # fmt: skip
"""Where the history of a bug and its traces do not agree on a release, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """A bug, and the releases that show it."""

    change: Change
    releases: tuple[str, ...]


def affected(traces: Sequence[Trace]) -> Iterator[Affected]:
    """Every bug that shipped and that one of *traces* shows on mainline without its fix.

    A release has it if it lacks the fix, and if one of its traces breaks there what it
    breaks on mainline. Other bugs of the release may break more.
    """
    for change in CHANGES:
        shown = [trace for trace in traces if shows(trace, change)]
        if change.shipped and shown:
            found = tuple(name for name in ASKED if any(has(name, change, t) for t in shown))
            yield Affected(change=change, releases=found)


def shows(trace: Trace, change: Change) -> bool:
    """Whether *trace* is a regression of *change*."""
    whole = trace.changes == (*change.needs, change.name)
    return whole and trace.release is None and trace.violates == change.breaks != ()


def has(release: str, change: Change, trace: Trace) -> bool:
    """Whether *release* has the bug that *change* brings back."""
    asked = (change.name,) if change.hides else ()
    return lacks(release, change) and set(trace.violates) <= violated(trace, release, asked)


def lacks(release: str, change: Change) -> bool:
    """Whether *release* is older than what ended the bug, if anything did."""
    return change.since is None or RELEASES[release] < change.since


def violated(trace: Trace, release: str, changes: tuple[str, ...] = ()) -> set[str]:
    """What *trace* breaks on *release* with *changes* of all that it says it does, at whichever
    of its events."""
    asked = [INVARIANTS[name] for name in trace.violates]
    checker = trace.machine(KernelVariant.named(release, changes), invariants=asked)
    found = [checker.boot(), *(checker.apply(event).violations for event in trace.events)]
    return {name for violations in found for name in broken(violations)}


def expected(change: Change, release: str) -> bool:
    """Whether *release* has the bug by what is known of its history."""
    return lacks(release, change) and RELEASES[release] >= INTRODUCED.get(change.name, (0, 0))
