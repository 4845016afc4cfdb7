"""drivers/virtio/virtio_mem.c: big blocks of memory that the hypervisor lends."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.walkers.walker import (
    Holds,
    every_nth_pfn,
    first_pfn_decides,
    in_hotplugged_block,
    walker,
)

BIG_BLOCKS = "virtio_mem_bbm"
"""Its walkers of big blocks. A third, virtio_mem_bbm_bb_is_offline(), reads no struct page."""
# Simplified: there is no virtio-mem device here; all memory that was added after boot
# counts as plugged by one.


def first_pages(x: Extents) -> ExtentMask:
    """Online pages that are the first of a section that was added after boot."""
    rows = every_nth_pfn(x, x.geometry.pages_per_section, BIG_BLOCKS)
    return x.remember("virtio_mem_first_pages", lambda: in_hotplugged_block(x) & rows)


def whole_sections(x: Extents) -> ExtentMask:
    """Sections added after boot whose first page is online."""
    rows = first_pfn_decides(x, x.geometry.pages_per_section, BIG_BLOCKS)
    return x.remember("virtio_mem_whole_sections", lambda: in_hotplugged_block(x) & rows)


@walker(
    "drivers/virtio/virtio_mem.c",
    believes="a section that is online in one zone",
    takes=whole_sections,
)
def virtio_mem_bbm_bb_is_movable(x: Extents) -> ExtentMask:
    """Looks at the first page of each section of a big block for its zone.

    Source: virtio_mem_bbm_bb_is_movable().
    """
    return first_pages(x)


@walker(
    "drivers/virtio/virtio_mem.c",
    believes="a section all of which is online and can be taken from the allocator",
    takes=whole_sections,
    holds=Holds.DEVICE_HOTPLUG,
)
def virtio_mem_bbm_offline_remove_and_unplug_bb(x: Extents) -> ExtentMask:
    """Takes each section of a big block whose first page is online from the allocator.

    # Simplified: it holds hotplug_mutex, as its notifier does while a block of its own goes
    online or offline. device_hotplug_lock, which offlining holds, stands for that.

    Source: virtio_mem_bbm_offline_remove_and_unplug_bb().
    """
    return whole_sections(x)
