"""What the kernel refuses, it leaves alone."""

from __future__ import annotations

from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import TAINTED, NotifierAction, PageFlag, SectionFlag, ZoneType
from hotplug_model.invariants.invariant import across
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange
from hotplug_model.state.zone import MANAGED, ONLINE_MEMMAP, Zone

SHRINK = [zone for zone in ZoneType if zone != ZoneType.ZONE_DEVICE]
COUNTS = slice(ONLINE_MEMMAP)
"""All numbers of a zone but whether it is contiguous, and what a kernel counts to know that, which
may get too small: see :mod:`~hotplug_model.changes.proposal_zone_contiguous`."""
SHOWN = ("section_flags", "subsection", "memmap", "pgmap_array", "block")


@across
def refusals_leave_the_machine_alone(
    before: Kernel, refusal: KernelRefusal | None, after: Kernel
) -> list[PfnRange]:
    """An operation that returned an error changed sections, maps, blocks or zones.

    The contents of struct pages of memory that is not online are free to change, a
    section that was tainted stays so, ZONE_DEVICE spans never shrink back, and whether a zone is
    contiguous is found out anew. Xen's balloon has what is put online again.

    Source: the error labels of add_memory_resource(), online_pages(), pagemap_range().
    """
    if refusal is None:
        return []
    same_pages = before.pfns.fingerprint() == after.pfns.fingerprint()
    changed = [] if same_pages else changed_pfns(before, after)
    if changed:
        return changed
    for nid, node in before.nodes.items():
        for zone_type in SHRINK:
            old, new = node.zones[zone_type], after.nodes[nid].zones[zone_type]
            same = (old.cells[COUNTS] == new.cells[COUNTS]).all()
            more = new.pages_with_online_memmap > old.pages_with_online_memmap
            if not more and (same or only_withheld(before, after, nid, zone_type)):
                continue
            if moved := difference(old, new, after):
                return moved
    if block_zones(before) != block_zones(after) or before.pgmaps != after.pgmaps:
        return [after.geometry.all_pfns]
    return [] if before.iomem == after.iomem else [after.geometry.all_pfns]


ENDS = {
    NotifierAction.MEM_GOING_ONLINE: (
        NotifierAction.MEM_ONLINE, NotifierAction.MEM_CANCEL_ONLINE
    ),
    NotifierAction.MEM_GOING_OFFLINE: (
        NotifierAction.MEM_OFFLINE, NotifierAction.MEM_CANCEL_OFFLINE
    ),
}  # fmt: skip
"""What notifiers hear first, and then."""


@across
def notifiers_hear_how_it_ended(
    before: Kernel, refusal: KernelRefusal | None, after: Kernel
) -> list[PfnRange]:
    """Memory notifiers were told that memory goes on- or offline, and not what came of it.

    Source: memory_notify() in online_pages() and offline_pages(), mm/memory_hotplug.c;
    Documentation/core-api/memory-hotplug.rst.
    """
    heard = after.notified
    return [
        pfns
        for number, (action, pfns) in enumerate(heard)
        if action in ENDS
        and not any(then in ENDS[action] and its == pfns for then, its in heard[number + 1 :])
    ]


def only_withheld(before: Kernel, after: Kernel, nid: int, zone_type: ZoneType) -> bool:
    """Whether a zone manages fewer pages just because a driver has them, as it has all that
    goes online, also if that is a block that had to be put online again.

    Source: xen_online_page(), drivers/xen/balloon.c; try_reonline_memory_block().
    """
    old, new = before.zone(nid, zone_type), after.zone(nid, zone_type)
    more = nr_withheld(after, nid, zone_type) - nr_withheld(before, nid, zone_type)
    counts = old.cells[COUNTS].copy()
    counts[MANAGED] -= more
    return bool((counts == new.cells[COUNTS]).all())


def nr_withheld(kernel: Kernel, nid: int, zone_type: ZoneType) -> int:
    """Pages of a zone that the allocator never had since they went online."""
    x = kernel.extents()
    withheld = x.is_online_ram & x.page_has(PageFlag.WITHHELD)
    return int(x.nr_pages[withheld & (x.nid == nid) & (x.zone == zone_type)].sum())


def difference(old: Zone, new: Zone, after: Kernel) -> list[PfnRange]:
    """Where a span rests that it did not, and online pages that it does not reach any more.

    That a span gives up the hole that boot drew into it harms nobody. If only counts
    differ it is all of the span.
    """
    if old.span == new.span:
        return [new.span]
    gained = [resting(part, new.span, after) for part in outside(new.span, old.span)]
    lost = [part for part in outside(old.span, new.span) if holds_online_ram(after, part)]
    return gained + lost


def resting(part: PfnRange, span: PfnRange, kernel: Kernel) -> PfnRange:
    """The subsection at the end of *part* that is an end of *span*: why it reaches so far.

    Source: find_smallest_section_pfn(), find_biggest_section_pfn() in mm/memory_hotplug.c.
    """
    size = kernel.geometry.pages_per_subsection
    if part.start_pfn == span.start_pfn:
        return PfnRange(part.start_pfn, min(part.start_pfn + size, part.end_pfn))
    return PfnRange(max(part.end_pfn - size, part.start_pfn), part.end_pfn)


def outside(span: PfnRange, other: PfnRange) -> list[PfnRange]:
    """The parts of *span* that *other* lacks."""
    if not span.overlaps(other):
        return [span] if span.nr_pages > 0 else []
    before = PfnRange(span.start_pfn, other.start_pfn)
    behind = PfnRange(other.end_pfn, span.end_pfn)
    return [part for part in (before, behind) if part.nr_pages > 0]


def holds_online_ram(kernel: Kernel, pfns: PfnRange) -> bool:
    """Whether a page of *pfns* is online."""
    x = kernel.extents()
    return any(online.overlaps(pfns) for online in x.where(x.is_online_ram))


def block_zones(kernel: Kernel) -> dict[int, object]:
    """Zone and altmap of each block; which type it was last to be onlined as may change."""
    return {block_id: (block.zone, block.altmap) for block_id, block in kernel.blocks.items()}


def changed_pfns(before: Kernel, after: Kernel) -> list[PfnRange]:
    """Ranges on which one of the columns in SHOWN differs."""
    x, y = before.extents(), after.extents()
    cuts = sorted({*x.start_pfn.tolist(), *y.start_pfn.tolist()})
    ends = [*cuts[1:], after.geometry.all_pfns.end_pfn]
    changed = []
    for start, end in zip(cuts, ends, strict=True):
        # A huge page that was dissolved has its vmemmap anew, whatever came then.
        huge = bool(before.pfns.at(start, "page_flags") & PageFlag.HUGETLB)
        if lasting(before, start, huge) != lasting(after, start, huge):
            changed.append(PfnRange(start, end))
    return changed


def lasting(kernel: Kernel, pfn: int, huge: bool) -> list[int]:
    """What an operation that is refused must leave alone at *pfn*, which was part of a *huge*
    page or not."""
    flags, subsection, memmap, *rest = (kernel.pfns.at(pfn, name) for name in SHOWN)
    # Where nothing is, a neighbour's huge page of vmemmap may reach.
    present = not huge and (subsection or flags & SectionFlag.IS_EARLY)
    return [flags & ~TAINTED, subsection, memmap if present else 0, *rest]
