"""Comparing single pages with what was recorded of them: raw struct pages that nobody uses,
and what /proc/kpageflags and /proc/kpagecount say.

What the model does not know of a page in use (is it free, mapped, dirty?) is left out by a
mask; of a page that the buddy allocator does not have every bit is determined.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hotplug_model.extents import Extents
from hotplug_model.flags import PageContent, PageFlag, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange
from hotplug_model.recorded.tally import Tally

ALL_ONES = (1 << 64) - 1
NR_PAGEFLAGS = 24
"""Every recorded kernel has so many, one of them more."""
NOT_MAPPED = -1
"""``_mapcount`` of an initialised page that is not mapped."""


@dataclass(frozen=True, slots=True)
class RawFlags:
    """Which bits of ``page->flags`` are what, and how a page type shows in ``_mapcount``."""

    dirty: int
    reserved: int
    zone: int
    node: int
    offline: int
    owner_priv_1: int = 10

    def of(self, flags: int, zone: int, nid: int) -> int:
        """The raw word; bits that the model has no names for are clear."""
        bits = {
            PageFlag.PG_reserved: self.reserved, PageFlag.PG_dirty: self.dirty,
            PageFlag.PG_vmemmap_self_hosted: self.owner_priv_1,
        }  # fmt: skip
        low = sum(1 << bit for flag, bit in bits.items() if flags & flag)
        return zone << self.zone | nid << self.node | low

    @property
    def mask(self) -> int:
        """The flags, the zone and the node; between them is which CPU used the page last."""
        return ALL_ONES >> self.zone << self.zone | (1 << NR_PAGEFLAGS) - 1


RAW_FLAGS = {
    "5.10": RawFlags(3, 12, 51, 54, ~0x100),
    "6.1": RawFlags(3, 12, 51, 54, ~0x100),
    "hp": RawFlags(3, 12, 55, 58, ~0x100),
    "6.12": RawFlags(4, 13, 51, 54, 0xF1000000 - (1 << 32)),
}
"""By ``kernel_key``; the recordings say so, too.

Source: enum pageflags, PG_offline and PGTY_offline in include/linux/page-flags.h."""

KPF_DIRTY, KPF_HWPOISON, KPF_NOPAGE, KPF_OFFLINE = 1 << 4, 1 << 19, 1 << 20, 1 << 23
KPF_RESERVED, KPF_OWNER_PRIVATE = 1 << 32, 1 << 37
KPF = {
    PageFlag.PG_dirty: KPF_DIRTY,
    PageFlag.PG_hwpoison: KPF_HWPOISON,
    PageFlag.PG_offline: KPF_OFFLINE,
    PageFlag.PG_reserved: KPF_RESERVED,
    PageFlag.PG_vmemmap_self_hosted: KPF_OWNER_PRIVATE,
}
"""Source: include/uapi/linux/kernel-page-flags.h, include/linux/kernel-page-flags.h."""


def parts(
    x: Extents, rows: list[list[Any]], stride: int = 1
) -> Iterator[tuple[int, list[Any], PfnRange]]:
    """Ranges on which neither side changes: the extent's row, the recorded row, the pfns.

    Recorded rows start with their first pfn and their length. Of a range that holds no
    pfn that is a multiple of *stride* nothing was recorded.
    """
    starts = x.start_pfn.tolist()
    window = PfnRange(rows[0][0], rows[-1][0] + rows[-1][1])
    cuts = sorted({*(r[0] for r in rows), *(s for s in starts if s in window)})
    run = extent = 0
    for start, end in zip(cuts, [*cuts[1:], window.end_pfn], strict=True):
        pfn = -(-start // stride) * stride
        while run + 1 < len(rows) and rows[run + 1][0] <= pfn:
            run += 1
        while extent + 1 < len(starts) and starts[extent + 1] <= pfn:
            extent += 1
        if pfn < end:
            yield extent, rows[run], PfnRange(pfn, end)


def compare_raw_pages(
    kernel: Kernel, key: str, label: str, columns: list[str], rows: list[list[Any]], stride: int,
    tally: Tally,
) -> None:  # fmt: skip
    """Compare flags, ref and mapcount of the struct pages of memory that is not online."""
    if "flags" not in columns:
        return
    flags, ref, mapcount = map(columns.index, ("flags", "ref", "mapcount"))
    x = kernel.extents()
    for extent, row, pfns in parts(x, rows, stride):
        expected = raw_page(x, extent, RAW_FLAGS[key])
        if expected is None or x.online_page[extent] or not x.mapped[extent]:
            continue
        where = f"{label} {pfns}"
        mask, word, count, kind = expected
        tally.compare("flags", where, hex(int(row[flags], 16) & mask), hex(word))
        tally.compare("mapcount", where, row[mapcount], kind)
        if count is not None:
            tally.compare("ref", where, row[ref], count)


def raw_page(
    x: Extents, extent: int, raw: RawFlags
) -> tuple[int, int, int | None, int] | None:
    """What is determined of a struct page: a mask for its flags, the flags, the reference
    count and the map count; None if nothing is.

    Which pages of a compound page are its tails is not modelled, nor whether a device page
    whose map is gone was part of one: of these the zone and the node count only.
    """
    content = x.content[extent]
    if content == PageContent.POISONED:
        return ALL_ONES, ALL_ONES, -1, -1
    if content == PageContent.ZEROED:
        return ALL_ONES, 0, 0, 0
    if content not in (PageContent.INITIALISED, PageContent.STALE):
        return None
    flags, zone = int(x.page_flags[extent]), int(x.zone[extent])
    word = raw.of(flags, zone, int(x.nid[extent]))
    if zone == ZoneType.ZONE_DEVICE and maybe_compound(x, extent):
        high = ALL_ONES >> raw.zone << raw.zone
        return high, word & high, None, NOT_MAPPED
    offline = flags & PageFlag.PG_offline
    return raw.mask, word, int(x.refcount[extent]), raw.offline if offline else NOT_MAPPED


def maybe_compound(x: Extents, extent: int) -> bool:
    """Whether a device page is part of a compound page, or may have been."""
    pgmap = x.kernel.pgmaps.get(int(x.page_pgmap[extent]))
    return not x.initialised[extent] or pgmap is None or pgmap.vmemmap_shift > 0


def compare_kpage(kernel: Kernel, label: str, seen: dict[str, Any], tally: Tally) -> None:
    """Compare what /proc/kpageflags and /proc/kpagecount say of a range."""
    x = kernel.extents()
    for extent, row, pfns in parts(x, seen["kpageflags"]) if seen.get("kpageflags") else ():
        mask, bits = kpageflags(x, extent)
        tally.compare("kpageflags", f"{label} {pfns}", hex(int(row[2], 16) & mask), hex(bits))
    for extent, row, pfns in parts(x, seen["kpagecount"]) if seen.get("kpagecount") else ():
        if not x.online_page[extent] or not x.is_managed[extent]:
            tally.compare("kpagecount", f"{label} {pfns}", int(row[2], 16), 0)


def kpageflags(x: Extents, extent: int) -> tuple[int, int]:
    """A mask for what is determined of a page's bits, and these bits.

    Which pages boot kept for itself, and so are reserved, is not recorded.

    Source: stable_page_flags(), kpageflags_read(), fs/proc/page.c.
    """
    if not x.online_page[extent]:
        return ALL_ONES, KPF_NOPAGE
    flags = int(x.page_flags[extent])
    bits = sum(kpf for flag, kpf in KPF.items() if flags & flag)
    if not x.is_managed[extent]:
        return ALL_ONES, bits
    mask = KPF_NOPAGE | KPF_HWPOISON | KPF_OFFLINE
    return (mask if x.is_early[extent] else mask | KPF_RESERVED), bits
