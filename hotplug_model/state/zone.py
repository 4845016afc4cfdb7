"""Zones and nodes: ``struct zone`` and ``pg_data_t`` (include/linux/mmzone.h)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from hotplug_model.flags import ZoneType
from hotplug_model.pfn import PfnRange


@dataclass(slots=True)
class Zone:
    """One zone of one node. Counts are pages."""

    zone_start_pfn: int = 0
    spanned_pages: int = 0
    present_pages: int = 0
    managed_pages: int = 0

    @property
    def span(self) -> PfnRange:
        """``[zone_start_pfn, zone_end_pfn())``."""
        return PfnRange(self.zone_start_pfn, self.zone_start_pfn + self.spanned_pages)

    def intersects(self, pfns: PfnRange) -> bool:
        """``zone_intersects()``."""
        return self.spanned_pages > 0 and self.span.overlaps(pfns)

    def copy(self) -> Self:
        """An independent copy."""
        return replace(self)


@dataclass(slots=True)
class Node:
    """``pg_data_t``. Counts are pages; *zones* has one entry per :class:`ZoneType`."""

    nid: int
    zones: tuple[Zone, ...]
    node_start_pfn: int = 0
    node_spanned_pages: int = 0
    node_present_pages: int = 0

    @classmethod
    def empty(cls, nid: int) -> Self:
        """A node without memory."""
        return cls(nid, tuple(Zone() for _ in ZoneType))

    @property
    def span(self) -> PfnRange:
        """``[node_start_pfn, pgdat_end_pfn())``."""
        return PfnRange(self.node_start_pfn, self.node_start_pfn + self.node_spanned_pages)

    def copy(self) -> Self:
        """An independent copy."""
        return replace(self, zones=tuple(zone.copy() for zone in self.zones))
