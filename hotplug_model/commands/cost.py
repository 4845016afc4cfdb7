"""``hotplug-model cost``: how much vmemmap a range needs, and how much of it leaks."""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from dataclasses import asdict, replace
from typing import Any

from hotplug_model.changes import KernelVariant
from hotplug_model.commands.arguments import named_variant
from hotplug_model.cost import PAGE_TABLES, Cost, CostRequest, Pages, cost
from hotplug_model.errors import UserError
from hotplug_model.geometry import GEOMETRIES, Geometry
from hotplug_model.words import counted

SUFFIXES = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
FROM = {
    "BOOT": "from boot memory",
    "BUDDY": "from the buddy allocator",
    "ALTMAP": "from the device itself",
    "SELF_HOSTED": "from the memory blocks themselves",
    PAGE_TABLES: "of page tables",
}


def run(args: argparse.Namespace) -> int:
    """Count and print; 0 whatever came of it."""
    request = request_of(args)
    found = cost(request)
    if args.json:
        print(json.dumps(as_json(args.geometry, request, found), indent=2))
    else:
        print("\n".join(lines(args.geometry, request, found)))
    return 0


def request_of(args: argparse.Namespace) -> CostRequest:
    """What the arguments ask for; :class:`UserError` if that cannot be."""
    variant = named_variant(args)
    if args.geometry is None:
        args.geometry = usual_geometry(variant)
    geometry = GEOMETRIES[args.geometry]
    if args.struct_page is not None:
        geometry = with_struct_page(geometry, args.struct_page)
    return CostRequest(
        variant=variant, geometry=geometry, size_bytes=size_bytes(args.add),
        cycles=args.cycles, device=args.device, altmap=args.altmap,
    )  # fmt: skip


USUAL = {"x86": "x86_64", "arm64": "arm64_4k", "powerpc": "powerpc_64k", "s390": "s390"}
"""A real machine of each architecture."""


def usual_geometry(variant: KernelVariant) -> str:
    """A machine of the architecture that the changes concern; x86-64 without any."""
    arches = {GEOMETRIES[change.geometry].arch for change in variant.changes}
    return USUAL[arches.pop()] if len(arches) == 1 else USUAL["x86"]


def with_struct_page(geometry: Geometry, size: int) -> Geometry:
    """*geometry* with struct pages of *size* bytes."""
    if size % 8:
        raise UserError(f"--struct-page: {size} bytes are no multiple of 8")
    return replace(geometry, struct_page_bytes=size)


def size_bytes(text: str) -> int:
    """A size as people write it, ``128M`` or ``3TiB``."""
    found = re.fullmatch(r"([0-9]{1,18})([KMGT]?)(iB|B)?", text, re.IGNORECASE | re.ASCII)
    if not found:
        raise UserError(f"--add: {text[:40]!r} is no size; expected one like 128M, 1G or 3T")
    return int(found[1]) << SUFFIXES[found[2].upper()]


def lines(name: str, request: CostRequest, found: Cost) -> list[str]:
    """What a person wants to know."""
    geometry, page = request.geometry, request.geometry.page_bytes
    kind = "device memory" if request.device else "System RAM"
    hosts = ", which is to hold its own memmap" if request.altmap else ""
    total, section = sum(found.needed.values()) * page, geometry.pages_per_section * page
    return [
        f"{request.variant} at {name}: pages of {size(page)}, struct pages of "
        f"{geometry.struct_page_bytes} bytes, sections of {size(section)}",
        f"add {size(request.size_bytes)} of {kind}{hosts}",
        f"  needs {size(total)} of vmemmap, {total / request.size_bytes:.2%}: "
        + composed(found.needed, page),
        *left(found, page),
        *(initialised(found) if request.device else []),
        *books(found),
    ]


def initialised(found: Cost) -> list[str]:
    """Under which lock the struct pages of a device are written, and how often."""
    visits = found.initialised
    return [
        f"  writes {visits.locked:,} struct pages while mem_hotplug_lock is held, "
        f"{visits.unlocked:,} without it, {visits.twice:,} of them twice",
    ]


def left(found: Cost, page: int) -> list[str]:
    """What cycles of add and remove leave behind."""
    done = len(found.left)
    after = f"  after {counted(done, 'cycle')} of add and remove"
    nr_pages = sum(found.leaked.values())
    if not found.leaked:
        return [f"{after} nothing is left"]
    first = sum(found.left[0].values())
    told = [
        f"{after} {size(nr_pages * page)} is left: {composed(found.leaked, page)}",
        f"  that is {size(first * page)} after the first one, and "
        + (f"{size((nr_pages - first) * page)} more after the others" if done > 1 else "all"),
    ]
    if found.unmapped:
        told.append(f"  of it nothing maps {size(found.unmapped * page)}")
    return told


def books(found: Cost) -> list[str]:
    """Whether everything went to where it came from."""
    told = [f"  the kernel refused to add it again in {found.refused}"] if found.refused else []
    if not found.breaches:
        return [*told, "  no page was freed twice, too early, or to a stranger"]
    said = ", ".join(f"{law} ({nr})" for law, nr in sorted(found.breaches.items()))
    return [*told, f"  rules that were broken, and in how many places: {said}"]


def composed(pages: Pages, page: int) -> str:
    """How much of what; nothing if there is nothing."""
    parts = [f"{size(pages[name] * page)} {text}" for name, text in FROM.items() if pages[name]]
    return ", ".join(parts) or "nothing"


def size(nr_bytes: int) -> str:
    """Bytes in the largest unit that leaves a short number."""
    sign, rest = "-" if nr_bytes < 0 else "", abs(nr_bytes)
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if rest >= 1 << shift:
            return f"{sign}{rest / (1 << shift):.4g} {unit}"
    return f"{sign}{rest} B"


def as_json(name: str, request: CostRequest, found: Cost) -> dict[str, Any]:
    """The same for programs, in bytes."""
    geometry, page = request.geometry, request.geometry.page_bytes
    needed, leaked = sum(found.needed.values()), sum(found.leaked.values())
    return {
        "variant": str(request.variant),
        "geometry": name,
        "struct_page_bytes": geometry.struct_page_bytes,
        "page_bytes": page,
        "section_bytes": geometry.pages_per_section * page,
        "kind": "device" if request.device else "system_ram",
        "altmap": request.altmap,
        "added_bytes": request.size_bytes,
        "start_bytes": found.pfns.start_pfn * page,
        "needed_bytes": needed * page,
        "needed_bytes_by_origin": by_origin(found.needed, page),
        "initialised": asdict(found.initialised),
        "cycles": len(found.left),
        "leaked_bytes": leaked * page,
        "leaked_bytes_by_origin": by_origin(found.leaked, page),
        "leaked_bytes_a_cycle": leaked * page / len(found.left),
        "leaked_bytes_after_each_cycle": [sum(each.values()) * page for each in found.left],
        "unmapped_bytes": found.unmapped * page,
        "breaches": dict(sorted(found.breaches.items())),
        "refused": found.refused,
    }


def by_origin(pages: Pages, page: int) -> dict[str, int]:
    """Bytes by where they came from."""
    counted: Counter[str] = Counter(dict.fromkeys(FROM, 0))
    counted.update(pages)
    return {name.lower(): nr * page for name, nr in counted.items()}
