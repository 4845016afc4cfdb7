"""Zones gain, lose and choose pages: the zone half of mm/memory_hotplug.c."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.contiguous import (
    clear_zone_contiguous,
    forget_holes,
    set_zone_contiguous,
)
from hotplug_model.extents import Extents
from hotplug_model.flags import (
    REFERENCES,
    WITHOUT_REFERENCE,
    OnlineType,
    PageFlag,
    PageUser,
    ZoneType,
)
from hotplug_model.kernel import Kernel
from hotplug_model.mm.page_alloc import memmap_init_range, page_init_poison, retire_pages
from hotplug_model.mm.sparse import section_taint_zone_device
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.ledger import Cause, Law
from hotplug_model.state.zone import Node, Zone


def move_pfn_range_to_zone(
    kernel: Kernel, pfns: PfnRange, nid: int, zone_type: ZoneType, altmap: Altmap | None
) -> Steps:
    """Link *pfns* to a zone: spans grow, shared sections are tainted, pages are set up.

    The sections are not online yet, so that since 4.13 the zone is not found contiguous.

    Source: move_pfn_range_to_zone().
    """
    wants_lock(kernel, pfns)
    clear_zone_contiguous(kernel, nid, zone_type)
    kernel.rules.resize_zone_range(kernel.zone(nid, zone_type), pfns)
    resize_pgdat_range(kernel.nodes[nid], pfns)
    yield "resize_zone_range"
    if zone_type == ZoneType.ZONE_DEVICE and kernel.rules.section_taint_zone_device:
        for pfn in (pfns.start_pfn, pfns.end_pfn):
            if pfn % kernel.geometry.pages_per_section:
                section_taint_zone_device(kernel, pfn)
        yield "section_taint_zone_device"
    memmap_init_range(kernel, pfns, nid, zone_type, altmap)
    set_zone_contiguous(kernel, nid, zone_type)
    yield "memmap_init_range"


def wants_lock(kernel: Kernel, pfns: PfnRange) -> None:
    """Zones change while mem_hotplug_lock is held for writing, or that is a breach.

    Source: present_pages in struct zone, include/linux/mmzone.h; commit 001002e73712
    ("mm/memory_hotplug: add missing mem_hotplug_lock") (in v6.7).
    """
    if not kernel.locks.mem_hotplug:
        kernel.ledger.breach(Law.ZONE_CHANGED_UNLOCKED, pfns)


def resize_zone_range(zone: Zone, pfns: PfnRange) -> None:
    """Widen a zone's span so that it holds *pfns*."""
    old = zone.span
    start = min(old.start_pfn, pfns.start_pfn) if zone.spanned_pages else pfns.start_pfn
    zone.zone_start_pfn = start
    zone.spanned_pages = max(old.end_pfn, pfns.end_pfn) - start


def resize_pgdat_range(node: Node, pfns: PfnRange) -> None:
    """Widen a node's span so that it holds *pfns*."""
    old = node.span
    start = min(old.start_pfn, pfns.start_pfn) if node.node_spanned_pages else pfns.start_pfn
    node.node_start_pfn = start
    node.node_spanned_pages = max(old.end_pfn, pfns.end_pfn) - start


def remove_pfn_range_from_zone(
    kernel: Kernel, pfns: PfnRange, nid: int, zone_type: ZoneType
) -> Steps:
    """Unlink *pfns* from a zone: poison the pages, shrink the spans.

    ZONE_DEVICE never shrinks: nothing tells which of its pfns are still in use.

    Source: remove_pfn_range_from_zone(); commit feee6b298916 ("mm/memory_hotplug:
    shrink zones when offlining memory") (in v5.5); commit d33695b16a9f (in v5.6) for
    the poisoning.
    """
    lose_references(kernel, pfns)
    if kernel.rules.page_init_poison_at_removal:
        page_init_poison(kernel, pfns)
    else:
        # Before 5.6 this came first.
        clear_zone_contiguous(kernel, nid, zone_type)
    retire_pages(kernel, pfns)
    yield "remove_pfn_range_from_zone"
    if zone_type == ZoneType.ZONE_DEVICE:
        return
    wants_lock(kernel, pfns)
    clear_zone_contiguous(kernel, nid, zone_type)
    span = kernel.zone(nid, zone_type).span
    yield from kernel.rules.shrink_zone_span(kernel, nid, zone_type, pfns)
    forget_holes(kernel, nid, zone_type, span)
    if kernel.rules.remove_pfn_range_from_zone_at_offline:
        set_zone_contiguous(kernel, nid, zone_type)


def lose_references(kernel: Kernel, pfns: PfnRange) -> None:
    """Whoever has a reference on one of *pfns* has the pfn and no more from now on.

    # Simplified: before 5.18 memunmap_pages() waited for the last reference on a page, and
    here for none that an operation took.
    """
    for page in held_within(kernel, pfns):
        kernel.ledger.breach(Law.GONE_UNDER_A_REFERENCE, page, why_gone(kernel, page))
        users = kernel.pfns.at(page.start_pfn, "users")
        left = users & ~REFERENCES | (users & REFERENCES & ~PageUser.LONGTERM) << WITHOUT_REFERENCE
        kernel.pfns.write(page, users=left)


def why_gone(kernel: Kernel, page: PfnRange) -> Cause:
    """What mainline gets wrong if a page on which somebody has a reference goes."""
    if kernel.pfns.at(page.start_pfn, "zone") == ZoneType.ZONE_DEVICE:
        return Cause.UNCOUNTED
    dropped = [e.pfns for e in kernel.ledger.breaches if e.cause == Cause.NEVER_TAKEN]
    uncounted = kernel.pfns.at(page.start_pfn, "refcount") == 0
    if uncounted and any(page.overlaps(each) for each in dropped):
        return Cause.NEVER_TAKEN
    broken = kernel.pfns.at(page.start_pfn, "page_flags") & PageFlag.PG_hwpoison
    skipped = broken and kernel.rules.offline_skips_broken_pages
    return Cause.SKIPPED if skipped else Cause.NONE


def held_within(kernel: Kernel, pfns: PfnRange) -> list[PfnRange]:
    """Ranges of *pfns* that are alike and on which somebody has a reference."""
    runs = kernel.pfns.overlapping(pfns)
    held = (kernel.pfns.column("users")[runs] & REFERENCES) != 0
    starts = kernel.pfns.start_pfn[runs][held].tolist()
    ends = kernel.pfns.end_pfn[runs][held].tolist()
    return [PfnRange(*each).intersection(pfns) for each in zip(starts, ends, strict=True)]


def shrink_zone_span(
    kernel: Kernel, nid: int, zone_type: ZoneType, pfns: PfnRange
) -> Steps:
    """Move the edge of a zone that *pfns* formed, then the node's.

    Source: shrink_zone_span(), update_pgdat_span().
    """
    zone = kernel.zone(nid, zone_type)
    span = zone.span
    if span.start_pfn == pfns.start_pfn:
        rest = PfnRange(pfns.end_pfn, span.end_pfn)
        first = find_smallest_section_pfn(kernel, nid, zone_type, rest)
        set_span(zone, PfnRange(span.end_pfn if first is None else first, span.end_pfn))
    elif span.end_pfn == pfns.end_pfn:
        rest = PfnRange(span.start_pfn, pfns.start_pfn)
        last = find_biggest_section_pfn(kernel, nid, zone_type, rest)
        set_span(zone, PfnRange(span.start_pfn, span.start_pfn if last is None else last + 1))
    yield "shrink_zone_span"
    update_pgdat_span(kernel.nodes[nid])
    yield "update_pgdat_span"


def set_span(zone: Zone, span: PfnRange) -> None:
    """Store a span; an empty one starts at 0."""
    empty = span.nr_pages <= 0
    zone.zone_start_pfn = 0 if empty else span.start_pfn
    zone.spanned_pages = 0 if empty else span.nr_pages


def belongs_to(x: Extents, nid: int, zone_type: ZoneType) -> ExtentMask:
    """Rows that the search for a zone's edge takes for its pages."""
    seen = x.online_page if x.kernel.rules.shrink_asks_online else x.pfn_valid
    rows: ExtentMask = seen & (x.zone == zone_type) & (x.nid == nid)
    return rows


def find_smallest_section_pfn(
    kernel: Kernel, nid: int, zone_type: ZoneType, pfns: PfnRange
) -> int | None:
    """First pfn of *pfns*, a subsection at a time, that belongs to the zone."""
    x = kernel.extents()
    step = kernel.geometry.pages_per_subsection
    # Where stepping from pfns.start_pfn first lands in each row.
    behind = (x.start_pfn - pfns.start_pfn).clip(min=0)
    landing = pfns.start_pfn + -(-behind // step) * step
    hits = belongs_to(x, nid, zone_type) & (landing < x.end_pfn) & (landing < pfns.end_pfn)
    found = landing[hits]
    return int(found[0]) if len(found) else None


def find_biggest_section_pfn(
    kernel: Kernel, nid: int, zone_type: ZoneType, pfns: PfnRange
) -> int | None:
    """Last pfn of *pfns*, a subsection at a time from the end, of the zone."""
    x = kernel.extents()
    step = kernel.geometry.pages_per_subsection
    last = pfns.end_pfn - 1
    behind = (last - (x.end_pfn - 1)).clip(min=0)
    landing = last - -(-behind // step) * step
    hits = belongs_to(x, nid, zone_type) & (landing >= x.start_pfn) & (landing >= pfns.start_pfn)
    found = landing[hits]
    return int(found[-1]) if len(found) else None


def update_pgdat_span(node: Node) -> None:
    """A node spans the hull of its zones.

    Source: update_pgdat_span(); commit 00d6c019b5bc (in v5.4).
    """
    spans = [zone.span for zone in node.zones if zone.spanned_pages]
    start = min((span.start_pfn for span in spans), default=0)
    node.node_start_pfn = start
    node.node_spanned_pages = max((span.end_pfn for span in spans), default=0) - start


def adjust_present_page_count(
    kernel: Kernel, nid: int, zone_type: ZoneType, nr_pages: int
) -> None:
    """Add *nr_pages* present pages to a zone and its node."""
    zone = kernel.zone(nid, zone_type)
    wants_lock(kernel, zone.span)
    zone.present_pages += nr_pages
    if kernel.rules.zone_contiguous != "scanned":
        zone.pages_with_online_memmap += nr_pages
    kernel.nodes[nid].node_present_pages += nr_pages


def zone_for_pfn_range(
    kernel: Kernel, online_type: OnlineType, nid: int, pfns: PfnRange
) -> ZoneType:
    """The zone that *pfns* would be onlined to.

    Plain ``online`` follows the one of the kernel's and the movable zone that spans
    the range; if none or both do, movable_node decides.

    Source: zone_for_pfn_range(), default_zone_for_pfn(); commit 7cf209ba8a86 (in v5.15) for
    the width of a pfn.
    """
    if kernel.rules.zone_for_pfn_range_truncates:
        start = pfns.start_pfn % (1 << kernel.geometry.unsigned_bits)
        pfns = PfnRange(start, start + pfns.nr_pages)
    movable, kernel_zone = ZoneType.ZONE_MOVABLE, default_kernel_zone_for_pfn(kernel, nid, pfns)
    if online_type == OnlineType.MMOP_ONLINE_KERNEL:
        return kernel_zone
    if online_type == OnlineType.MMOP_ONLINE_MOVABLE:
        return movable
    in_kernel = kernel.zone(nid, kernel_zone).intersects(pfns)
    in_movable = kernel.zone(nid, movable).intersects(pfns)
    if in_kernel != in_movable:
        return kernel_zone if in_kernel else movable
    return movable if kernel.layout.movable_node else kernel_zone


def default_kernel_zone_for_pfn(kernel: Kernel, nid: int, pfns: PfnRange) -> ZoneType:
    """The lowest kernel zone that already spans part of *pfns*, else ZONE_NORMAL."""
    for zone_type in (ZoneType.ZONE_DMA, ZoneType.ZONE_DMA32):
        if kernel.zone(nid, zone_type).intersects(pfns):
            return zone_type
    return ZoneType.ZONE_NORMAL
