"""What the pfn table does not say: boot memory, zones, nodes, maps and memory blocks."""

from __future__ import annotations

from rich.text import Text

from hotplug_model.boot import BootLayout
from hotplug_model.flags import ZoneType
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange, merge_ranges
from hotplug_model.report.lines import line


def joined_ram(boot: BootLayout) -> list[tuple[PfnRange, int]]:
    """System RAM by node, touching ranges joined."""
    return [
        (pfns, nid)
        for nid in sorted({nid for _, nid in boot.ram})
        for pfns in merge_ranges(pfns for pfns, owner in boot.ram if owner == nid)
    ]


def changed(before: Kernel | None, after: Kernel, marked: tuple[PfnRange, ...]) -> list[Text]:
    """Zones and maps that the last step changed, and zones that lie where it broke."""
    old = {} if before is None else entries(before)
    new = entries(after)
    spans = {
        key: zone.span
        for nid, node in after.nodes.items()
        for kind, zone in zip(ZoneType, node.zones, strict=True)
        for key in [zone_key(nid, kind)]
    }
    lines = []
    for key in dict.fromkeys([*old, *new]):
        was, now = old.get(key, "none"), new.get(key, "none")
        if was != now and before is not None:
            lines.append(line(f"  {key}: {was}  ->  {now}"))
        elif key in spans and any(spans[key].overlaps(pfns) for pfns in marked):
            lines.append(line(f"  {key}: {now}"))
    return lines


def zone_key(nid: int, kind: ZoneType) -> str:
    """How a zone is called here."""
    return f"zone {kind.label}/{nid}"


def entries(kernel: Kernel) -> dict[str, str]:
    """One line a zone in use and a device map, by what it is called."""
    found = {}
    for nid, node in kernel.nodes.items():
        for kind, zone in zip(ZoneType, node.zones, strict=True):
            if zone.spanned_pages or zone.present_pages:
                found[zone_key(nid, kind)] = f"span {zone.span} present {zone.present_pages:#x}"
    for pgmap_id, pgmap in sorted(kernel.pgmaps.items()):
        found[f"pgmap {pgmap_id}"] = f"{pgmap.ref.name.lower()}, {pgmap.nr_refs} references"
    return found
