"""The proposal to count pages that have a memmap, instead of looking a zone through for holes.

Source: "mm/memory hotplug/unplug: Optimize zone contiguous check when changing pfn range",
v2 and v3, linux-mm, April 2026.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import proposing
from hotplug_model.rules import KernelRules


@proposing(
    "contiguous-counted",
    "a zone is contiguous if it spans exactly as many pages as have an online memmap",
    breaks=("walkers_take_no_zone_device_page",),
)
def count_holes_too(rules: KernelRules) -> KernelRules:
    """Holes of boot memory that have a memmap count, and go on doing so if a device moves in.

    A zone with such a hole is contiguous then, where a look at its pageblocks would have found a
    subsection that is not populated. Nothing takes it back when memremap_pages() populates that:
    compaction reads pages of the device, and poison when it is gone.

    Source: the thread named above, v3. Wei Yang's answer to it has a zone with a hole of 2 MiB that
    turns contiguous by the patch.
    """
    return replace(rules, zone_contiguous="counted")


@proposing(
    "contiguous-counted-populated",
    "as contiguous-counted, but holes of whole subsections do not count",
)
def count_populated(rules: KernelRules) -> KernelRules:
    """Only holes in subsections with RAM count, where no device can be: nothing moves in.

    Our correction. It does not look at every pageblock either. The count falls before the memmap
    is poisoned, so that what a contiguous zone spans is never poisoned.
    """
    return replace(rules, zone_contiguous="counted_populated")
