"""What hv_balloon keeps of the memory that Hyper-V has added: drivers/hv/hv_balloon.c."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

from hotplug_model.pfn import PfnRange


@dataclass(slots=True, kw_only=True)
class HotAddRegion:
    """``struct hv_hotadd_state``: a region that is added in chunks, and what of it is backed.

    ```
    start_pfn                          ha_end_pfn        end_pfn
        | added, a block at a time          | not added yet |
        [    backed    | gap |    backed    |               ]
    covered_start_pfn           covered_end_pfn
    ```
    """

    start_pfn: int
    end_pfn: int
    ha_end_pfn: int
    covered_start_pfn: int
    covered_end_pfn: int
    gaps: tuple[PfnRange, ...] = ()
    """``gap_list``: what the host left out."""

    @property
    def pfns(self) -> PfnRange:
        """All of it."""
        return PfnRange(self.start_pfn, self.end_pfn)

    def backed(self, pfns: PfnRange) -> list[PfnRange]:
        """``has_pfn_is_backed()``: the parts of *pfns* that the host put memory behind."""
        covered = PfnRange(self.covered_start_pfn, self.covered_end_pfn).intersection(pfns)
        return without(covered, self.gaps)

    def unbacked(self, pfns: PfnRange) -> list[PfnRange]:
        """The other parts of those of *pfns* that are in the region."""
        return without(pfns.intersection(self.pfns), self.backed(pfns))

    def numbers(self) -> list[int]:
        """Every field, for a fingerprint."""
        ends = (end for gap in self.gaps for end in (gap.start_pfn, gap.end_pfn))
        return [
            self.start_pfn, self.end_pfn, self.ha_end_pfn, self.covered_start_pfn,
            self.covered_end_pfn, len(self.gaps), *ends,
        ]  # fmt: skip


@dataclass(slots=True, kw_only=True)
class HvBalloon:
    """``struct hv_dynmem_device``."""

    regions: list[HotAddRegion] = field(default_factory=list)
    """``ha_region_list``."""
    do_hot_add: bool = True
    """Whether no memory was in the way yet of what the host wanted to add."""
    nid: int = 0
    """The node of all that it adds: memory_add_physaddr_to_nid()."""

    @property
    def lent(self) -> list[PfnRange]:
        """What the hypervisor has added, or will."""
        return [region.pfns for region in self.regions]

    def unplugged(self) -> list[PfnRange]:
        """Memory that was added and that nothing is behind."""
        return [
            part
            for region in self.regions
            for part in region.unbacked(PfnRange(region.start_pfn, region.ha_end_pfn))
        ]

    def copy(self) -> Self:
        """An independent copy."""
        return replace(self, regions=[replace(region) for region in self.regions])

    def numbers(self) -> list[int]:
        """Every field, for a fingerprint."""
        numbers = [self.nid, self.do_hot_add, len(self.regions)]
        for region in self.regions:
            numbers += region.numbers()
        return numbers


def without(pfns: PfnRange, holes: Iterable[PfnRange]) -> list[PfnRange]:
    """*pfns* less *holes*, in whatever order these are."""
    parts, start = [], pfns.start_pfn
    for hole in sorted(holes):
        parts.append(PfnRange(start, min(hole.start_pfn, pfns.end_pfn)))
        start = max(start, hole.end_pfn)
    parts.append(PfnRange(start, pfns.end_pfn))
    return [part for part in parts if part.nr_pages > 0]
