"""Comparing what struct pages of ZONE_DEVICE alone have: a map, and compound pages."""

from __future__ import annotations

from typing import Any

from hotplug_model.extents import Extents
from hotplug_model.kernel import Kernel
from hotplug_model.recorded.pages import parts
from hotplug_model.recorded.pmem import DRIVER_PGMAP
from hotplug_model.recorded.recording import Recording
from hotplug_model.recorded.tally import Tally
from hotplug_model.state.dev_pagemap import DevPagemap

DRIVER_RECORDED, SOMETHING_ELSE, OWN_STRUCT_PAGE = 99, 98, 97
"""What the recordings have for ``page->pgmap`` besides the id of a map."""


def compare_device_pages(
    kernel: Kernel, recording: Recording, label: str, rows: list[list[Any]], tally: Tally
) -> None:
    """Compare ``page->pgmap``, and the counts that compare_raw_pages() leaves out."""
    x, columns = kernel.extents(), recording.columns
    if "page_pgmap" not in columns:
        return
    for extent, row, pfns in parts(x, rows, recording.stride):
        if x.is_zone_device[extent] and x.subsection[extent]:
            for name, value in device_page(x, extent, pfns.start_pfn).items():
                tally.compare(name, f"{label} {pfns}", row[columns.index(name)], value)


def device_page(x: Extents, extent: int, pfn: int) -> dict[str, int]:
    """The recorded columns of a device page.

    The tail of a compound page has no map, and reads as a pointer to something else; nor
    has the memory that holds the memmap, whose list head points to itself. Counts of what
    the kernel takes for online were recorded as 0: before 5.12 that may be a device.
    """
    pgmap_id = int(x.page_pgmap[extent])
    count = {"ref": 0 if x.online_page[extent] else int(x.refcount[extent])}
    if pgmap_id < 0:
        return {"page_pgmap": OWN_STRUCT_PAGE} | count
    shown = {"page_pgmap": DRIVER_RECORDED if pgmap_id == DRIVER_PGMAP else pgmap_id}
    pgmap = x.kernel.pgmaps.get(pgmap_id)
    if pgmap is None or not pgmap.vmemmap_shift:
        return shown
    if is_tail(pgmap, pfn):
        return {"page_pgmap": SOMETHING_ELSE, "ref": 0}
    return shown | count


def is_tail(pgmap: DevPagemap, pfn: int) -> bool:
    """Whether *pfn* is no head of one of the map's compound pages."""
    first = next(pgmap.pfn_first(i) for i, pfns in enumerate(pgmap.ranges) if pfn in pfns)
    return bool((pfn - first) % pgmap.vmemmap_nr)
