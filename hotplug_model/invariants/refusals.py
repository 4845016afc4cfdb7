"""What the kernel refuses, it leaves alone."""

from __future__ import annotations

from hotplug_model.errors import KernelRefusal
from hotplug_model.invariants.invariant import across
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange

SHOWN = ("section_flags", "subsection", "memmap", "pgmap_array", "block", "refcount")


@across
def refusals_leave_the_machine_alone(
    before: Kernel, refusal: KernelRefusal | None, after: Kernel
) -> list[PfnRange]:
    """An operation that returned an error changed sections, maps, blocks or zones.

    The contents of struct pages of memory that is not online are free to change, and
    ZONE_DEVICE spans never shrink back.

    Source: the error labels of add_memory_resource(), online_pages(), pagemap_range().
    """
    if refusal is None:
        return []
    changed = changed_pfns(before, after)
    if changed:
        return changed
    for nid, node in before.nodes.items():
        for old, new in zip(node.zones[:-1], after.nodes[nid].zones[:-1], strict=True):
            if old != new:
                return [new.span if new.spanned_pages else old.span]
    rest_before = (before.blocks, before.pgmaps, before.iomem)
    rest_after = (after.blocks, after.pgmaps, after.iomem)
    return [] if rest_before == rest_after else [after.geometry.all_pfns]


def changed_pfns(before: Kernel, after: Kernel) -> list[PfnRange]:
    """Ranges on which one of the columns in SHOWN differs."""
    x, y = before.extents(), after.extents()
    cuts = sorted({*x.start_pfn.tolist(), *y.start_pfn.tolist()})
    ends = [*cuts[1:], after.geometry.all_pfns.end_pfn]
    changed = []
    for start, end in zip(cuts, ends, strict=True):
        old, new = (
            [table.at(start, name) for name in SHOWN] for table in (before.pfns, after.pfns)
        )
        if old != new:
            changed.append(PfnRange(start, end))
    return changed
