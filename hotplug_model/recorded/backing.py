"""The memory behind the memmap, a page of vmemmap at a time: as recorded, as modelled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hotplug_model.arrays import ExtentMask, Pfns
from hotplug_model.flags import MappingLevel, MemmapOrigin
from hotplug_model.geometry import Geometry
from hotplug_model.kernel import Kernel
from hotplug_model.state.vmemmap import NOWHERE, VMEMMAP_RESERVE_NR

MOST_PAGES = 1 << 20
"""Pages of vmemmap in a recording: a damaged file must not ask for all of memory."""


@dataclass(frozen=True)
class Backing:
    """What backs pages of vmemmap. All arrays have shape (nr_pages,)."""

    page: Pfns
    """Number of the page of vmemmap."""
    run: Pfns
    """Which row of its table the page is from: those of one row are mapped alike."""
    level: Pfns
    """:class:`MappingLevel`."""
    frame: Pfns
    """What tells one page of memory from another: its pfn, or, where that is anybody's
    guess, a negative number. Of no meaning where nothing is mapped."""

    @property
    def mapped(self) -> ExtentMask:
        """Which pages are mapped at all."""
        rows: ExtentMask = self.level != MappingLevel.NONE
        return rows

    @property
    def nr_frames(self) -> int:
        """Pages of memory; one that several pages of vmemmap share counts once."""
        return len(np.unique(self.frame[self.mapped]))

    @cached_property
    def first_sharer(self) -> Pfns:
        """The lowest page of vmemmap on the same memory; its own number if there is none."""
        mapped, first = self.mapped, self.page.copy()
        frames, nth = np.unique(self.frame[mapped], return_inverse=True)
        lowest = np.full(len(frames), np.iinfo(np.int64).max)
        np.minimum.at(lowest, nth, self.page[mapped])
        first[mapped] = lowest[nth]
        return first


def recorded_backing(geometry: Geometry, rows: list[list[Any]]) -> Backing:
    """From rows of ``[pfn, n, level, backing pfn, pages]``."""
    table = np.array([[0 if value is None else value for value in row] for row in rows], np.int64)
    pfn, nr_pfns, level, frame, _ = table.T
    each = geometry.page_bytes // geometry.struct_page_bytes
    nr_pages = nr_pfns // each
    if (table < 0).any() or (pfn % each).any() or (nr_pfns % each).any():
        raise ValueError("vmemmap: not whole pages")
    if not 0 < nr_pages.sum() <= MOST_PAGES:
        raise ValueError("vmemmap: too many pages")
    run = np.repeat(np.arange(len(rows)), nr_pages)
    within = np.arange(len(run)) - np.repeat(nr_pages.cumsum() - nr_pages, nr_pages)
    return Backing(pfn[run] // each + within, run, level[run], frame[run] + within)


def modelled_backing(kernel: Kernel, page: Pfns) -> Backing:
    """What backs each *page* of vmemmap in the model."""
    table = kernel.vmemmap
    run = table.start_pfn.searchsorted(page, "right") - 1
    level, origin, offset, tail, period, phase = (
        table.column(name)[run]
        for name in ("level", "origin", "offset", "tail", "period", "phase")
    )
    # Behind the pages of a compound page that are real, all share the last one of these.
    nth = (page - phase) % np.maximum(period, 1)
    owner = np.where(period > 0, page - nth + np.minimum(nth, VMEMMAP_RESERVE_NR - 1), page)
    owner = np.where(tail != NOWHERE, tail, owner)
    determined = (origin == MemmapOrigin.ALTMAP) | (origin == MemmapOrigin.SELF_HOSTED)
    if kernel.layout.memmap_start is not None:
        determined |= origin == MemmapOrigin.BOOT
    return Backing(page, run, level, np.where(determined, page + offset, -1 - owner))
