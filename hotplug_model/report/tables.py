"""What the pfn table does not say: boot memory, zones, maps, and who holds the memmap."""

from __future__ import annotations

from rich.text import Text

from hotplug_model.boot import BootLayout
from hotplug_model.contiguous import contiguous_zones
from hotplug_model.flags import LinearMap, MappingLevel, MemmapOrigin, MemoryClass, ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange, merge_ranges
from hotplug_model.report.lines import line
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.memblock import MemblockFlag


def joined_ram(boot: BootLayout) -> list[tuple[PfnRange, int]]:
    """System RAM by node, touching ranges joined."""
    return [
        (pfns, nid)
        for nid in sorted({nid for _, nid in boot.ram})
        for pfns in merge_ranges(pfns for pfns, owner in boot.ram if owner == nid)
    ]


def changed(
    before: Kernel | None,
    after: Kernel,
    marked: tuple[PfnRange, ...],
    memmap: bool,
    linear_map: bool = False,
) -> list[Text]:
    """Zones, maps and vmemmap that the last step changed, and zones where it broke.

    With *memmap* vmemmap where it broke as well, with *linear_map* what the linear map covers.
    """
    told = [entries, linear_map_entries] if linear_map else [entries]
    old, new = (
        {key: words for tell in told for key, words in tell(kernel).items()} if kernel else {}
        for kernel in (before, after)
    )
    spans = {
        key: zone.span
        for nid, node in after.nodes.items()
        for kind, zone in zip(ZoneType, node.zones, strict=True)
        for key in [zone_key(nid, kind)]
    }
    if memmap:
        spans |= {memmap_key(pfns): pfns for pfns, _ in mappings(after)}
    if linear_map:
        spans |= {linear_map_key(pfns): pfns for pfns, _ in covered(after)}
    lines, same = [], []
    for key in dict.fromkeys([*old, *new]):
        was, now = old.get(key, "none"), new.get(key, "none")
        if was != now and before is not None:
            lines.append(line(f"  {key}: {was}  ->  {now}"))
        elif key in spans and any(spans[key].overlaps(pfns) for pfns in marked):
            same.append(line(f"  {key}: {now}"))
    return lines + same


def zone_key(nid: int, kind: ZoneType) -> str:
    """How a zone is called here."""
    return f"zone {kind.label}/{nid}"


def entries(kernel: Kernel) -> dict[str, str]:
    """One line a zone in use and a device map, by what it is called."""
    found = {}
    contiguous = contiguous_zones(kernel)
    for nid, node in kernel.nodes.items():
        for kind, zone in zip(ZoneType, node.zones, strict=True):
            if zone.spanned_pages or zone.present_pages:
                managed, present = zone.managed_pages, zone.present_pages
                part = f"managed {managed:#x} of" if managed != present else "present"
                hint = " contiguous" if contiguous[nid, kind] else ""
                found[zone_key(nid, kind)] = f"span {zone.span} {part} {present:#x}{hint}"
    for pgmap_id, pgmap in sorted(kernel.pgmaps.items()):
        found[f"pgmap {pgmap_id}"] = f"{pgmap.ref.name.lower()}, {pgmap.nr_refs} references"
        found |= altmap_entry(f"altmap of pgmap {pgmap_id}", pgmap.altmap)
    for block_id, block in sorted(kernel.blocks.items()):
        found |= altmap_entry(f"altmap of block {block_id}", block.altmap)
    if kernel.rules.unused_vmemmap is not None and kernel.rules.unused_vmemmap.uses_marks:
        found |= marks(kernel)
    return found | {memmap_key(pfns): words for pfns, words in mappings(kernel)}


def marks(kernel: Kernel) -> dict[str, str]:
    """Which physical memory memblock knows as parts of vmemmap that nothing lives in."""
    unused = (r for r in kernel.memblock.known() if r.flags & MemblockFlag.MEMBLOCK_UNUSED_VMEMMAP)
    return {f"memblock bytes [{r.base:#x}-{r.end:#x})": "MEMBLOCK_UNUSED_VMEMMAP" for r in unused}


def altmap_entry(key: str, altmap: Altmap | None) -> dict[str, str]:
    """The counters of an altmap, if there is one."""
    if altmap is None:
        return {}
    return {key: f"{altmap.alloc} of {altmap.free} pages allocated, {altmap.align} lost"}


def memmap_key(pfns: PfnRange) -> str:
    """How a part of the memmap is called here."""
    return f"memmap of {pfns}"


def mappings(kernel: Kernel) -> list[tuple[PfnRange, str]]:
    """The pfns that each run of vmemmap describes, with what maps and backs it."""
    table = kernel.vmemmap.copy()
    table.merge()
    everything = kernel.geometry.vmemmap_pages
    return [
        (kernel.geometry.described_by(pages), backing(row))
        for pages, row in table.runs_of(everything)
    ]


def linear_map_entries(kernel: Kernel) -> dict[str, str]:
    """What each part of memory is, and whether the linear map covers it."""
    return {linear_map_key(pfns): words for pfns, words in covered(kernel)}


def linear_map_key(pfns: PfnRange) -> str:
    """How a part of the linear map is called here."""
    return f"linear map of {pfns}"


def covered(kernel: Kernel) -> list[tuple[PfnRange, str]]:
    """Runs of memory of one class that the linear map covers, or does not, alike."""
    x = kernel.extents()
    return [
        (pfns, f"{owner}, {cover}")
        for memory, owner in OWNERS.items()
        for linear_map, cover in COVERED.items()
        if memory != MemoryClass.NONE or linear_map != LinearMap.NONE
        for pfns in x.where((x.memory == memory) & (x.linear_map == linear_map))
    ]


OWNERS = {
    MemoryClass.NONE: "nobody's memory",
    MemoryClass.SYSTEM_RAM: "System RAM",
    MemoryClass.ADDRESSABLE: "device memory",
    MemoryClass.UNADDRESSABLE: "private device memory",
    MemoryClass.MOVABLE: "coherent device memory",
}
COVERED = {
    LinearMap.NONE: "not mapped",
    LinearMap.MAPPED: "mapped",
    LinearMap.STRAY: "left mapped by a failed add",
    LinearMap.TORN: "unmapped by a failed add",
    LinearMap.HIGHMEM: "mapped by kmap() only",
}


def backing(row: dict[str, int]) -> str:
    """What maps a part of vmemmap, and where the memory came from."""
    level = {MappingLevel.PTE: "base pages", MappingLevel.PMD: "huge pages"}
    words = [f"{level[MappingLevel(row['level'])]} from {GIVERS[MemmapOrigin(row['origin'])]}"]
    words += ["shared"] if row["shared"] else []
    words += ["deduplicated"] if row["period"] or row["tail"] >= 0 else []
    return ", ".join(words)


GIVERS = {
    MemmapOrigin.BOOT: "boot",
    MemmapOrigin.BUDDY: "the buddy allocator",
    MemmapOrigin.ALTMAP: "an altmap",
    MemmapOrigin.SELF_HOSTED: "the block itself",
}
