"""What became of every page of vmemmap: the books that the invariants audit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum, unique
from typing import NamedTuple, Self

from hotplug_model.flags import MemmapOrigin
from hotplug_model.pfn import PfnRange


@unique
class Law(IntEnum):
    """What was broken when a page changed hands."""

    FREED_TWICE = 1
    """A page was freed that nobody had allocated any more."""
    FREED_TO_A_STRANGER = 2
    """A page was freed to somebody that it did not come from."""
    FREED_IN_USE = 3
    """A page was freed that still described a valid pfn."""
    MAPPED_BELOW_A_HUGE_PAGE = 4
    """Struct pages were taken for page-table entries."""
    ALTMAP_IN_USE_AT_TEARDOWN = 5
    """An altmap ended before what was allocated from it was freed."""
    BOOT_USAGE_FREED = 6
    """A usage map that boot allocated was given to kfree()."""
    READ_OUT_OF_BOUNDS = 7
    """A look-up read behind the end, or before the start, of an array."""
    REMOVED_AS_ANOTHER_CLASS = 8
    """Memory was removed as what it had not been added as."""
    CYCLE_OF_WAITS = 9
    """Operations waited for one another in a circle."""
    USED_UNMAPPED = 10
    """A walker read a struct page whose memmap was freed since it was looked up."""
    USED_POISONED = 11
    """A walker read a struct page that was poisoned since it was looked up."""
    USED_ANOTHERS = 12
    """A walker read a struct page that is another's, or nobody's, since it was looked up."""
    READ_AFTER_FREE = 13
    """What had been freed was read by who had loaded its address before."""
    NULL_READ = 14
    """A NULL pointer was followed."""
    ZONE_CHANGED_UNLOCKED = 15
    """A zone was resized, or its present pages were counted, without mem_hotplug_lock."""
    GONE_UNDER_A_REFERENCE = 16
    """A page left its zone though somebody had a reference on it."""
    MISCOUNTED = 17
    """A user dropped no reference that it had, or one that it had not."""
    WORKER_WAITS_FOR_A_SIGNAL = 18
    """A worker of the kernel tried what only a signal ends, which it never gets."""
    WRITTEN_BEFORE_SYNC = 19
    """vmemmap was written below a top-level entry that only init_mm had."""
    UNMAPPED_UNLOCKED = 20
    """Offlining unmapped a page without its lock."""
    PARKED = 22
    """Offlining waited for a page that was free, where nobody looked for it."""
    FREED_UNSPLIT = 23
    """A page was freed by itself that the buddy allocator had given as part of one."""
    BACKED_UNNOTICED = 24
    """Memory was backed while it went online, when its driver had passed over it."""
    SUBTRACTED_TWICE = 25
    """Pages were taken off managed_pages of their zone that were not counted there any more."""


class Cause(IntEnum):
    """What mainline itself is known to get wrong, where it did; see ``defects``."""

    NONE = 0
    SHARED = 1
    """The page was used by several adds, which brought different altmaps."""
    PRIVATE = 2
    """Device-private memory is removed without the altmap that it was added with."""
    CORRUPTED = 3
    """The huge page was taken for a page of PTEs."""
    UNPOPULATED = 4
    """The memmap to free could not be allocated."""
    UNFINISHED = 5
    """The add that the page was allocated for had failed and was not undone."""
    UNWOUND = 6
    """An add that failed had mapped it, or unmapped it when it was undone."""
    WENT_OFFLINE = 7
    """The page went offline, and who uses it holds nothing that offlining waits for."""
    WENT_AWAY = 8
    """The memory was removed, and who uses its page holds nothing that removing waits for."""
    OUTSIDE_RCU = 9
    """Freed after a grace period, but read by pfn_to_online_page(), which is in no section
    of RCU."""
    SKIPPED = 11
    """Offlining passed over a broken page, though somebody holds a reference on it."""
    UNCOUNTED = 12
    """The map ended though somebody holds a reference on a page of it."""
    NEVER_DROPPED = 13
    """Who gave a page of a device back decided that it had no reference on it."""
    NEVER_TAKEN = 14
    """Who gave a pfn back decided that it had a reference on the page there."""
    SET_ANEW = 15
    """Its count was set anew when it was freed, though KVM had a reference on it."""
    GOES_ONLINE = 16
    """The pages were with the driver's callback, and their section was not online yet."""
    SET_ANEW_UNDER_A_WALKER = 17
    """Its count was set anew when it was freed, though a walker had a reference on it."""
    BROKEN = 18
    """The page was broken, too, and offlining asks for that first."""


class Entry(NamedTuple):
    """One breach: the law, the pfns that the page describes, and who did it."""

    law: Law
    pfns: PfnRange
    cause: Cause
    operation: str


@dataclass(slots=True)
class Ledger:
    """``allocated`` pages less freed ones, by allocator, and every breach so far."""

    outstanding: Counter[MemmapOrigin] = field(default_factory=Counter)
    lost: Counter[MemmapOrigin] = field(default_factory=Counter)
    """Pages that are not outstanding because they were given to an altmap that never had them."""
    breaches: list[Entry] = field(default_factory=list)
    uncounted: Counter[tuple[int, int]] = field(default_factory=Counter)
    """By node and zone, how far managed_pages is too low for what was subtracted twice."""
    operation: object = "boot"
    """The operation in flight, for the blame; put into words only if it is to blame."""
    cause: Cause = Cause.NONE
    """Under which circumstance memory is freed right now."""

    def allocated(self, origin: MemmapOrigin, nr_pages: int) -> None:
        """*nr_pages* were taken from an allocator."""
        self.outstanding[origin] += nr_pages

    def freed(self, origin: MemmapOrigin, nr_pages: int) -> None:
        """*nr_pages* were given back to an allocator, rightly or not."""
        self.outstanding[origin] -= nr_pages

    def breach(self, law: Law, pfns: PfnRange, cause: Cause = Cause.NONE) -> None:
        """Write down, once, that *law* was broken for the page that describes *pfns*."""
        entry = Entry(law, pfns, cause or self.cause, str(self.operation))
        if all(old[:3] != entry[:3] for old in self.breaches):
            self.breaches.append(entry)

    def copy(self) -> Self:
        """An independent copy."""
        return type(self)(
            self.outstanding.copy(), self.lost.copy(), list(self.breaches),
            self.uncounted.copy(), self.operation, self.cause,
        )  # fmt: skip

    def numbers(self) -> list[int]:
        """What a fingerprint needs: not who broke a law, nor what nobody has any more."""
        balance = [self.outstanding[origin] for origin in MemmapOrigin]
        broken = [(e.law, e.pfns.start_pfn, e.pfns.end_pfn, e.cause) for e in self.breaches]
        missing = [(*zone, nr) for zone, nr in sorted(self.uncounted.items())]
        return balance + [int(number) for entry in (*broken, *missing) for number in entry]
