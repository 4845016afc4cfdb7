"""No walker sees what it must not, and none misses what it should."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents, Sees
from hotplug_model.flags import BlockState, PageContent
from hotplug_model.invariants.invariant import always
from hotplug_model.walkers import WALKERS, Scan, Walker
from hotplug_model.walkers.contents import CONTENTS
from hotplug_model.walkers.page_isolation import may_be_isolated
from hotplug_model.walkers.walker import page_hwpoison, page_offline

MEM_ONLINE, MEM_GOING_OFFLINE = int(BlockState.MEM_ONLINE), int(BlockState.MEM_GOING_OFFLINE)
UNINITIALISED = (int(PageContent.ZEROED), int(PageContent.GARBAGE), int(PageContent.UNUSED))


def walkers_now(x: Extents) -> list[Walker]:
    """Walkers that could run now: hotplug does not hold the lock that they wait for.

    Those do not count that see so little that their verdicts are known.
    """
    return x.remember(
        f"walkers {x.asks}",
        lambda: [walker for walker in WALKERS if walker.sees >= x.asks and walker.may_run(x)],
    )


def read(x: Extents) -> ExtentMask:
    """Rows of which some walker reads a struct page."""
    return x.remember(f"read {x.asks}", lambda: some_walker(x, lambda walker: walker.reads))


def taken(x: Extents) -> ExtentMask:
    """Rows that some walker takes for online System RAM."""
    return x.remember(f"taken {x.asks}", lambda: some_walker(x, lambda walker: walker.takes))


def some_walker(x: Extents, question: Callable[[Walker], Scan]) -> ExtentMask:
    """Rows of which the answer of some walker is yes."""
    # Many walkers share an answer, the very same array.
    distinct = {id(rows): rows for rows in (question(walker)(x) for walker in walkers_now(x))}
    some: ExtentMask = np.logical_or.reduce([np.zeros(len(x.start_pfn), bool), *distinct.values()])
    return some


def copied(x: Extents) -> ExtentMask:
    """Rows whose memory somebody reads through the linear map."""
    scans = [walker.copies for walker in walkers_now(x) if walker.copies is not None]
    if x.asks == Sees.ROW:
        scans += CONTENTS
    rows = np.zeros(len(x.start_pfn), bool)
    for scan in scans:
        rows |= scan(x)
    return rows


def must_not_see(x: Extents) -> ExtentMask:
    """Rows that are wrong to read, to take for System RAM, or to copy."""
    readable = x.initialised & x.mapped & x.kernel_page_present
    hidden: ExtentMask = ~readable | x.is_zone_device | offline(x)
    return hidden


def offline(x: Extents) -> ExtentMask:
    """Rows of memory blocks whose sections are offline."""
    rows: ExtentMask = x.has_block & ~x.section_has_online
    return rows


def in_use(x: Extents) -> ExtentMask:
    """Rows of memory blocks that are online or about to go offline."""
    rows: ExtentMask = x.in_online_block | (x.block == MEM_GOING_OFFLINE)
    return rows


def who_may_see(x: Extents, hidden: ExtentMask) -> Sees:
    """Who has to be asked of *hidden* rows, if what walkers see of sections is known."""
    if (hidden & may_be_isolated(x)).any():
        return Sees.ISOLATION
    sees_all = any(walker.sees == Sees.MACHINE for walker in WALKERS)
    return Sees.MACHINE if sees_all and (hidden & in_use(x)).any() else Sees.NOTHING


@always(wrong_to_see=lambda x: x.is_zone_device)
def walkers_take_no_zone_device_page(x: Extents) -> ExtentMask:
    """A pfn walker takes a ZONE_DEVICE page for online System RAM.

    Source: pfn_to_online_page(), mm/memory_hotplug.c; commit 1f90a3477df3 ("mm: teach
    pfn_to_online_page() about ZONE_DEVICE section collisions") (in v5.12).
    """
    return taken(x) & x.is_zone_device


@always(wrong_to_see=lambda x: x.poisoned)
def walkers_read_no_poisoned_page(x: Extents) -> ExtentMask:
    """A pfn walker reads a poisoned struct page.

    Source: PF_POISONED_CHECK(), include/linux/page-flags.h; commit d33695b16a9f
    ("mm/memory_hotplug: poison memmap in remove_pfn_range_from_zone()") (in v5.6).
    """
    rows: ExtentMask = read(x) & x.poisoned
    return rows


@always(wrong_to_see=lambda x: x.stale)
def walkers_take_no_stale_page(x: Extents) -> ExtentMask:
    """A pfn walker believes a struct page whose owner is gone.

    Source: pfn_to_online_page(), mm/memory_hotplug.c; commit 9f9b02e5b346 ("mm: teach
    pfn_to_online_page() to consider subsection validity") (in v5.12).
    """
    rows: ExtentMask = taken(x) & x.stale
    return rows


def bare(x: Extents) -> ExtentMask:
    """Rows whose struct pages nobody has initialised."""
    zeroed, garbage, unused = UNINITIALISED
    rows: ExtentMask = (x.content == zeroed) | (x.content == garbage) | (x.content == unused)
    return rows


@always(wrong_to_see=bare)
def walkers_take_no_uninitialised_page(x: Extents) -> ExtentMask:
    """A pfn walker believes a struct page that nobody has initialised.

    Source: commit 2d070eab2e82 ("mm: consider zone which is not fully populated to have
    holes") (in v4.13).
    """
    return taken(x) & bare(x)


@always(wrong_to_see=lambda x: ~x.mapped)
def walkers_read_mapped_pages(x: Extents) -> ExtentMask:
    """A pfn walker reads a struct page that is not mapped.

    Source: pfn_valid(), include/linux/mmzone.h.
    """
    return read(x) & ~x.mapped


@always(quiescent=True)
def walkers_miss_no_online_page(x: Extents) -> ExtentMask:
    """A pfn walker that must see all online pages misses one.

    Blocks on their way online or offline are exempt: their sections say online while
    their zone does not count them yet, or any more. So are pages that a walker reads and
    finds to be PageOffline or PageHWPoison: what is ballooned, unplugged or broken holds
    nothing, and reading its memory may even fault, so /proc/kcore shows zeros and hibernation
    does not save what is PageOffline. Who copies a page has not missed it.

    Source: pfn_to_online_page(), online_pages(), offline_pages(), mm/memory_hotplug.c;
    read_kcore_iter(), fs/proc/kcore.c; saveable_page(), kernel/power/snapshot.c.
    """
    holds_nothing = page_offline(x) | page_hwpoison(x)
    complete = [
        w.takes(x) | w.reads(x) & holds_nothing | (w.copies(x) if w.copies else False)
        for w in WALKERS
        if w.complete
    ]
    settled = x.is_online_ram & x.in_online_block
    rows: ExtentMask = settled & ~np.logical_and.reduce(complete)
    return rows


@always(wrong_to_see=lambda x: ~x.kernel_page_present)
def memory_is_read_through_the_linear_map(x: Extents) -> ExtentMask:
    """The memory of a pfn is read that the linear map does not cover.

    Source: read_kcore_iter() in fs/proc/kcore.c; do_copy_page() in kernel/power/snapshot.c;
    memcmp_pages() in mm/ksm.c; wp_page_copy() in mm/memory.c.
    """
    return copied(x) & ~x.kernel_page_present


@always(wrong_to_see=offline)
def memory_that_is_offline_is_not_read(x: Extents) -> ExtentMask:
    """The memory of a section that is offline is read.

    What it held is lost, and whoever has it now may not want it to be touched. The dump of a
    crash is another kernel's, which knows of no sections that were offline.

    Source: read_kcore_iter() in fs/proc/kcore.c, saveable_page() in kernel/power/snapshot.c:
    pfn_to_online_page(); commit 0daa322b8ff9 ("fs/proc/kcore: don't read offline sections,
    logically offline pages and hwpoisoned pages") (in v5.14).
    """
    return copied(x) & offline(x)
