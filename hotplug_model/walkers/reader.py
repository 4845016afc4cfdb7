"""Walkers that take time: a pfn is looked up now, and its struct page is read later.

What a walker reads at one instant is in its own file. Here it is spread over the
instants between which another CPU can get ahead, each a milestone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hotplug_model.flags import MemmapOrigin, PageContent, PageFlag, SectionFlag, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import PartSteps, Steps
from hotplug_model.state.dev_pagemap import references_of
from hotplug_model.state.ledger import Cause, Law
from hotplug_model.state.locks import DEVICE_HOTPLUG_LOCK, MEM_HOTPLUG_LOCK, zone_lock
from hotplug_model.state.rcu import RCU_READ_LOCK, page_ext_of, usage_of
from hotplug_model.walkers.walker import Holds, Walker

EXCLUDES_OFFLINING = (Holds.ONLINE_MEMS, Holds.DEVICE_HOTPLUG)


@dataclass(frozen=True, slots=True)
class Page:
    """What a struct page says at some instant."""

    origin: int
    content: int
    zone: int
    refcount: int
    page_flags: int
    section: int
    """The flags of its section."""

    @classmethod
    def of(cls, kernel: Kernel, pfn: int) -> Page:
        """That of *pfn*, now."""
        names = ("memmap", "content", "zone", "refcount", "page_flags", "section_flags")
        return cls(*(kernel.pfns.at(pfn, name) for name in names))

    @property
    def is_ram(self) -> bool:
        """Whether it is what a walker looks for: no page of a device, or of a hole."""
        initialised = self.content == PageContent.INITIALISED
        hole = self.page_flags & PageFlag.HOLE
        return initialised and not hole and self.zone != ZoneType.ZONE_DEVICE

    @property
    def is_device(self) -> bool:
        """Whether it is what who looks for pages of a map looks for."""
        return self.content == PageContent.INITIALISED and self.zone == ZoneType.ZONE_DEVICE

    @property
    def is_broken(self) -> bool:
        """PageHWPoison(): whether its memory is broken."""
        return bool(self.page_flags & PageFlag.PG_hwpoison)

    @property
    def broken(self) -> Law:
        """What reading it breaks if it is not what was looked for."""
        if self.origin == MemmapOrigin.NONE:
            return Law.USED_UNMAPPED
        poisoned = self.content == PageContent.POISONED
        return Law.USED_POISONED if poisoned else Law.USED_ANOTHERS


def walk(kernel: Kernel, walker: Walker, pfn: int) -> Steps:
    """Look *pfn* up as *walker* does and read its struct page, if it has got one.

    # Simplified: a walker comes to one pfn, not to one after the other, and what it asks
    besides whether a pfn is online or valid it asks at the very first.
    """
    locks, shared = kernel.locks, ""
    if walker.holds is Holds.ONLINE_MEMS:
        shared = MEM_HOTPLUG_LOCK
    elif walker.holds is Holds.ZONE_LOCK:
        shared = zone_lock(kernel.pfns.at(pfn, "nid"), kernel.pfns.at(pfn, "zone"))
    if shared:
        yield from locks.take_shared(shared)
    elif walker.holds is Holds.DEVICE_HOTPLUG:
        yield from locks.take(DEVICE_HOTPLUG_LOCK)
    try:
        if comes_to(kernel, walker, pfn):
            yield from USES.get(walker.holds, walk_ram)(kernel, walker, pfn)
    finally:
        kernel.rcu.forget(locks.context)
        if shared:
            locks.drop_shared(shared)
        elif walker.holds is Holds.DEVICE_HOTPLUG:
            locks.drop(DEVICE_HOTPLUG_LOCK)


def comes_to(kernel: Kernel, walker: Walker, pfn: int) -> bool:
    """Whether *walker* would read the struct page of *pfn* right now."""
    if not kernel.geometry.all_pfns.contains(PfnRange(pfn, pfn + 1)):
        return False
    x = kernel.extents()
    return bool(walker.reads(x)[x.row_at(pfn)])


def walk_ram(kernel: Kernel, walker: Walker, pfn: int) -> Steps:
    """What looks for online System RAM. What is none at the look-up is left to the
    invariants over walkers that take no time."""
    valid = walker.asks == "pfn_valid" or walker.name in kernel.rules.asks_pfn_valid
    found = yield from (pfn_valid if valid else pfn_to_online_page)(kernel, pfn)
    if not found or not Page.of(kernel, pfn).is_ram:
        return
    yield "pfn_valid" if valid else "pfn_to_online_page"
    if not read(kernel, pfn, walker.holds in EXCLUDES_OFFLINING):
        return
    page = Page.of(kernel, pfn)
    usual = not (page.is_broken or page.page_flags & PageFlag.PG_offline)
    takes = walker.holds is Holds.ANY_PAGE or (walker.holds is Holds.PAGE and usual)
    if takes and page.refcount:
        yield from read_with_reference(kernel, pfn, page.is_broken)
    elif walker.holds is Holds.PAGE_EXT:
        yield from read_page_ext(kernel, pfn)


# Looking up


def pfn_to_online_page(kernel: Kernel, pfn: int) -> PartSteps:
    """Whether there is a page, 1 or 0; asked in the kernel's order.

    The usage map is read without rcu_read_lock().

    Source: pfn_to_online_page(), mm/memory_hotplug.c (6.1).
    """
    rules, flags = kernel.rules, kernel.pfns.at(pfn, "section_flags")
    if not flags & SectionFlag.IS_ONLINE:
        return 0
    yield "online_section"
    tainted = flags & SectionFlag.TAINT_ZONE_DEVICE
    asks = rules.online_checks_subsection
    if asks == "always" or (tainted and asks == "slow_path"):
        valid = yield from pfn_section_valid(kernel, pfn, Cause.OUTSIDE_RCU)
        if not valid:
            return 0
    return int(not tainted or find_pgmap(kernel, pfn) is None)


def pfn_valid(kernel: Kernel, pfn: int) -> PartSteps:
    """Whether there is a struct page, 1 or 0; a reader of RCU.

    Source: pfn_valid(), include/linux/mmzone.h (6.1); commit 5ec8e8ea8b77 (in v6.8).
    """
    with rcu_read_lock(kernel, kernel.rules.usage_freed_by_rcu):
        flags = kernel.pfns.at(pfn, "section_flags")
        if not flags & SectionFlag.HAS_MEM_MAP:
            return 0
        yield "valid_section"
        if flags & SectionFlag.IS_EARLY:
            return 1
        return (yield from pfn_section_valid(kernel, pfn, Cause.NONE))


def pfn_section_valid(kernel: Kernel, pfn: int, cause: Cause) -> PartSteps:
    """Whether the subsection map has the bit, 1 or 0; its address is loaded first.

    Source: pfn_section_valid(), include/linux/mmzone.h; commit 82f0b6f041fa (in v6.10).
    """
    section_nr, context = kernel.geometry.section_nr(pfn), kernel.locks.context
    section = kernel.geometry.section_pfns(section_nr)
    if not kernel.pfns.at(pfn, "section_flags") & SectionFlag.USAGE:
        if not kernel.rules.pfn_section_valid_checks_usage:
            kernel.ledger.breach(Law.NULL_READ, section)
        return 0
    kernel.rcu.load(usage_of(section_nr), context)
    yield "ms->usage"
    if not kernel.rcu.read(usage_of(section_nr), context):
        kernel.ledger.breach(Law.READ_AFTER_FREE, section, cause)
        return 0
    return kernel.pfns.at(pfn, "subsection")


def find_pgmap(kernel: Kernel, pfn: int) -> int | None:
    """get_dev_pagemap(): the id of the live map that *pfn* belongs to, if any."""
    x = kernel.extents()
    pgmap_id = int(x.dev_pagemap[x.row_at(pfn)])
    return None if pgmap_id < 0 else pgmap_id


@contextmanager
def rcu_read_lock(kernel: Kernel, really: bool = True) -> Iterator[None]:
    """Inside of a read-side critical section, if *really*."""
    if not really:
        yield
        return
    for _ in kernel.locks.take_shared(RCU_READ_LOCK):
        raise AssertionError("nobody has it alone")
    try:
        yield
    finally:
        kernel.rcu.unlock(kernel.locks)


# Using what was found


def read(kernel: Kernel, pfn: int, held: bool, skipped: bool = False) -> bool:
    """Read the struct page of what was RAM; whether that could be done.

    *held* is whether offlining has to wait for the reader. If not, and the page went
    offline, what it reads is the consequence of that and nothing else. So it is if the
    page is *skipped*: offlining ought to wait, but passes over a broken page.
    """
    page = Page.of(kernel, pfn)
    if page.is_ram and page.origin != MemmapOrigin.NONE:
        return True
    cause = Cause.WENT_AWAY if page.broken == Law.USED_UNMAPPED else Cause.WENT_OFFLINE
    if page.section & SectionFlag.IS_ONLINE or (held and not skipped):
        cause = Cause.NONE
    elif skipped:
        cause = Cause.SKIPPED
    kernel.ledger.breach(page.broken, PfnRange(pfn, pfn + 1), cause)
    return False


def read_with_reference(kernel: Kernel, pfn: int, broken: bool) -> Steps:
    """get_page_unless_zero() has worked: offlining has to wait from now on, and does unless
    the page is *broken*."""
    page = PfnRange(pfn, pfn + 1)
    kernel.pfns.add(page, "refcount", 1)
    intact = False
    try:
        yield "get_page"
        intact = read(kernel, pfn, held=True, skipped=broken)
    finally:
        # Of a page that was overwritten nobody has a reference any more.
        if intact:
            kernel.pfns.add(page, "refcount", -1)


def read_page_ext(kernel: Kernel, pfn: int) -> Steps:
    """Ask page_ext about the page.

    Source: page_ext_get(), mm/page_ext.c; commit b1d5488a252d (in v6.1).
    """
    section_nr, context = kernel.geometry.section_nr(pfn), kernel.locks.context
    with rcu_read_lock(kernel, kernel.rules.page_ext_freed_by_rcu):
        kernel.rcu.load(page_ext_of(section_nr), context)
        yield "page_ext_get"
        if not kernel.rcu.read(page_ext_of(section_nr), context):
            section = kernel.geometry.section_pfns(section_nr)
            kernel.ledger.breach(Law.READ_AFTER_FREE, section)


def walk_device(kernel: Kernel, walker: Walker, pfn: int) -> Steps:
    """What looks for pages of a device map, and keeps a reference on the map.

    Source: memory_failure(), memory_failure_dev_pagemap(), mm/memory-failure.c (6.1); commit
    34dc45be4563 (in v5.12) for pgmap_pfn_valid().
    """
    valid = yield from pfn_valid(kernel, pfn)
    pgmap_id = find_pgmap(kernel, pfn)
    if not valid or pgmap_id is None:
        return
    is_data = kernel.pgmaps[pgmap_id].range_with(pfn) is not None
    if not is_data and kernel.rules.memory_failure_asks_for_data:
        return
    if is_data and not Page.of(kernel, pfn).is_device:
        # Lost before: that is left to the invariants that look at every milestone.
        return
    yield from kernel.locks.take_shared(references_of(pgmap_id))
    try:
        yield walker.holds.value
        page = Page.of(kernel, pfn)
        if not page.is_device:
            kernel.ledger.breach(page.broken, PfnRange(pfn, pfn + 1))
    finally:
        kernel.locks.drop_shared(references_of(pgmap_id))


def pin_device_page(kernel: Kernel, walker: Walker, pfn: int) -> Steps:
    """What finds a device page in page tables, takes a reference on it, and goes on to use
    it. Whether memunmap_pages() waits for that depends on the kernel.

    Source: gup_pte_range(), mm/gup.c; memunmap_pages(), mm/memremap.c (5.16, 6.1); commit
    27674ef6c73f ("mm: remove the extra ZONE_DEVICE struct page refcount") (in v5.18).
    """
    pgmap_id, rule = find_pgmap(kernel, pfn), kernel.rules.device_page_keeps_its_map
    if pgmap_id is None:
        return
    page, references = PfnRange(pfn, pfn + 1), references_of(pgmap_id)
    if rule == "while_held":
        yield from kernel.locks.take_shared(references)
    kernel.pfns.add(page, "refcount", 1)
    intact = False
    try:
        yield walker.name
        found = Page.of(kernel, pfn)
        intact = found.is_device
        if not intact:
            cause = Cause.UNCOUNTED if rule == "never" else Cause.NONE
            kernel.ledger.breach(found.broken, page, cause)
    finally:
        if intact:
            kernel.pfns.add(page, "refcount", -1)
        if rule == "while_held":
            kernel.locks.drop_shared(references)


USES = {Holds.PGMAP: walk_device, Holds.DEVICE_PAGE: pin_device_page}
"""What those do that do not look for System RAM."""
