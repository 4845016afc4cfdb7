"""The iomem resource tree, as far as memory hotplug asks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self
from zlib import crc32

from hotplug_model.pfn import PfnRange, merge_ranges

SYSTEM_RAM = "System RAM"
KMEM = "dax_kmem"
"""What a dax device had that is System RAM now."""
KMEM_LEFT = "dax_kmem, left"
"""The same, of a device whose driver went while it was online. The kernel calls both by the
device."""
NAMELESS = "freed name"
"""What a region is called whose name was freed: anything."""


@dataclass(slots=True)
class Resource:
    """``struct resource``; pages instead of bytes. Children are sorted and disjoint."""

    name: str
    pfns: PfnRange
    busy: bool = True
    children: list[Resource] = field(default_factory=list)

    def request(self, new: Resource) -> bool:
        """``__request_region()``: insert below the deepest non-busy node that holds it.

        False on a conflict: a busy region overlaps, or a non-busy one in part.
        """
        if not self.pfns.contains(new.pfns):
            return False
        conflict = next((c for c in self.children if c.pfns.overlaps(new.pfns)), None)
        if conflict is not None:
            return not conflict.busy and conflict.request(new)
        self.children.append(new)
        self.children.sort(key=lambda child: child.pfns.start_pfn)
        return True

    def is_claimed(self, pfns: PfnRange) -> bool:
        """Whether a busy region below this one overlaps *pfns*."""
        return any(
            child.busy or child.is_claimed(pfns)
            for child in self.children
            if child.pfns.overlaps(pfns)
        )

    def release(self, pfns: PfnRange) -> bool:
        """``__release_region()``: remove the busy region that is exactly *pfns*."""
        for child in self.children:
            if child.busy and child.pfns == pfns:
                self.children.remove(child)
                return True
            if not child.busy and child.release(pfns):
                return True
        return False

    def release_resource(self, pfns: PfnRange) -> bool:
        """``release_resource()``: remove the innermost region that is exactly *pfns* and
        not busy, with all below it. The kernel has a pointer to it; nothing but its like can
        lie around it."""
        return self._let_go(pfns, whole=True)

    def remove_resource(self, pfns: PfnRange) -> bool:
        """``remove_resource()``: the same, but what lies below it moves up."""
        return self._let_go(pfns, whole=False)

    def _let_go(self, pfns: PfnRange, whole: bool) -> bool:
        if any(not child.busy and child._let_go(pfns, whole) for child in self.children):
            return True
        own = next((c for c in self.children if not c.busy and c.pfns == pfns), None)
        if own is None:
            return False
        self.children.remove(own)
        if not whole:
            self.children += own.children
            self.children.sort(key=lambda child: child.pfns.start_pfn)
        return True

    def rename(self, pfns: PfnRange, old: str, new: str) -> None:
        """Call the region *old* that is exactly *pfns* something else."""
        if self.name == old and self.pfns == pfns:
            self.name = new
        for child in self.children:
            child.rename(pfns, old, new)

    def release_adjustable(self, pfns: PfnRange) -> bool:
        """``release_mem_region_adjustable()``: cut *pfns* out of the region holding it."""
        for child in self.children:
            if not child.pfns.contains(pfns):
                continue
            if not child.busy:
                return child.release_adjustable(pfns)
            self.children.remove(child)
            rest = (
                PfnRange(child.pfns.start_pfn, pfns.start_pfn),
                PfnRange(pfns.end_pfn, child.pfns.end_pfn),
            )
            self.children += [Resource(child.name, r, child.busy) for r in rest if r.nr_pages]
            self.children.sort(key=lambda each: each.pfns.start_pfn)
            return True
        return False

    def named(self, name: str) -> list[PfnRange]:
        """Ranges of every region called *name*, in pfn order."""
        found = [self.pfns] if self.name == name else []
        for child in self.children:
            found += child.named(name)
        return found

    def walk_system_ram_range(self, pfns: PfnRange) -> list[PfnRange]:
        """The parts of *pfns* that are System RAM, in pfn order."""
        parts = (ram.intersection(pfns) for ram in self.named(SYSTEM_RAM))
        return [part for part in parts if part.nr_pages > 0]

    def system_ram(self, pfns: PfnRange) -> int:
        """How many of *pfns* are System RAM."""
        return sum(part.nr_pages for part in self.walk_system_ram_range(pfns))

    def merged(self, name: str) -> tuple[PfnRange, ...]:
        """Ranges of every region called *name*, touching ones joined."""
        return merge_ranges(self.named(name))

    def numbers(self) -> list[int]:
        """The tree below this region, for a fingerprint."""
        numbers = [len(self.children)]
        for child in self.children:
            kind = crc32(child.name.encode()) << 1 | child.busy
            numbers += (kind, child.pfns.start_pfn, child.pfns.end_pfn, *child.numbers())
        return numbers

    def copy(self) -> Self:
        """An independent copy."""
        children = [child.copy() for child in self.children]
        return type(self)(self.name, self.pfns, self.busy, children)
