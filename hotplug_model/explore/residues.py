"""What of a machine is not as it was after boot, and what of that the kernel never takes back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag

import numpy as np
from numpy.typing import NDArray

from hotplug_model.contiguous import has_no_hole
from hotplug_model.flags import (
    TAINTED,
    BlockState,
    LinearMap,
    MemmapOrigin,
    MemoryClass,
    PageContent,
    PageFlag,
    PageUser,
    SectionFlag,
    ZoneType,
)
from hotplug_model.kernel import Kernel
from hotplug_model.parts import parts_of
from hotplug_model.state.pfn_table import COLUMNS
from hotplug_model.state.resource import KMEM_LEFT
from hotplug_model.state.runs import RunTable
from hotplug_model.state.zone import CONTIGUOUS, SPANNED, START

NO_STATE = ("ledger", "locks")
"""What the model remembers and a kernel does not, and what nobody holds in between."""
NAMES: dict[str, type[IntEnum | IntFlag]] = {
    "section_flags": SectionFlag, "page_flags": PageFlag, "content": PageContent,
    "zone": ZoneType, "memmap": MemmapOrigin, "block": BlockState, "memory": MemoryClass,
    "linear_map": LinearMap, "users": PageUser,
}  # fmt: skip
"""What the values of a column are called."""
CONTENT, PAGE_FLAGS = COLUMNS.index("content"), COLUMNS.index("page_flags")
IN_STRUCT_PAGE = [COLUMNS.index(c) for c in ("zone", "nid", "page_flags", "refcount", "page_pgmap")]
ZONE_NUMBERS = (
    "start_pfn", "spanned_pages", "present_pages", "managed_pages", "pages_with_online_memmap",
    "contiguous",
)  # fmt: skip
AGAIN, EARLY_MEMMAP, TAINT = "boot memory added again", "early memmap", "taint"
NOT_CONTIGUOUS = "not contiguous"
DEVICE_SPAN, BROKEN, LEFT = "span of ZONE_DEVICE", "broken page", "memory of a dax device"


@dataclass(frozen=True, slots=True)
class Residue:
    """What stays behind by design."""

    doc: str
    source: str


RESIDUES = {
    DEVICE_SPAN: Residue(
        "ZONE_DEVICE never shrinks.", "remove_pfn_range_from_zone(), mm/memory_hotplug.c"
    ),
    TAINT: Residue(
        "A section that held device memory stays tainted.",
        "section_taint_zone_device(), mm/memory_hotplug.c",
    ),
    EARLY_MEMMAP: Residue(
        "The memmap of an early section stays, and says what the device left there.",
        "section_deactivate(), mm/sparse.c",
    ),
    BROKEN: Residue(
        "Memory that broke stays PG_hwpoison, its page held, and a block that holds such a page "
        "does not go online again.",
        "memory_failure(), mm/memory-failure.c; memory_block_online(), drivers/base/memory.c",
    ),
    LEFT: Residue(
        "Memory of a dax device whose driver went while it was online stays. What else "
        "differs on such a machine is not asked.",
        "dev_dax_kmem_remove(), drivers/dax/kmem.c",
    ),
    NOT_CONTIGUOUS: Residue(
        "A zone that grew is not known to be contiguous: that is looked up before its memory is "
        "online.",
        "set_zone_contiguous() in move_pfn_range_to_zone(), mm/memory_hotplug.c",
    ),
    AGAIN: Residue(
        "Boot memory that was removed comes back as memory that was added: its section is "
        "early no more, its memmap the buddy allocator's.",
        "sparse_add_section(), section_deactivate(), mm/sparse.c",
    ),
}


def differences(kernel: Kernel, booted: Kernel) -> tuple[str, ...]:
    """What is not as it was, by name; of a flag or a state, what it is now."""
    if kernel.iomem.named(KMEM_LEFT):
        return (LEFT,)
    now, then = parts_of(kernel), parts_of(booted)
    found: list[str] = []
    for name in now:
        if name not in NO_STATE and now[name] != then[name]:
            found += DETAILS[name](kernel, booted) if name in DETAILS else [name]
    return tuple(dict.fromkeys(found))


def aligned(now: RunTable, then: RunTable) -> tuple[NDArray[np.int64], ...]:
    """(nr_runs,) first numbers of the runs of either table, and both tables' cells there."""
    cuts = np.union1d(now.start_pfn, then.start_pfn)
    cells = [t.cells[t.start_pfn.searchsorted(cuts, "right") - 1] for t in (now, then)]
    return cuts, *cells


def of_pfns(kernel: Kernel, booted: Kernel) -> list[str]:
    """Columns of the pfn table; of a struct page that is worth something else now, only that."""
    starts, now, then = aligned(kernel.pfns, booted.pfns)
    offline = broken_blocks(kernel, booted)
    differs = now != then
    differs[np.ix_(differs[:, CONTENT], IN_STRUCT_PAGE)] = False
    found: list[str] = []
    for column, row in np.argwhere(differs.T).tolist():
        early, was_early = (int(cells[row, 0]) & SectionFlag.IS_EARLY for cells in (now, then))
        name, value, was = COLUMNS[column], int(now[row, column]), int(then[row, column])
        if starts[row] // kernel.pages_per_block in offline:
            found.append(BROKEN)
        elif was_early and not early and value and name in ("section_flags", "memmap"):
            found.append(AGAIN)
        elif early and name == "content" and value != PageContent.INITIALISED:
            found.append(EARLY_MEMMAP)
        elif name in ("page_flags", "refcount") and broke(now[row]) and not broke(then[row]):
            found.append(BROKEN)
        elif name == "section_flags" and value == was | value & TAINTED:
            found.append(TAINT)
        else:
            found += [f"{name} {word}".strip() for word in words(name, value, was)]
    return found


def broke(cells: NDArray[np.int64]) -> bool:
    """Whether a page is PG_hwpoison."""
    return bool(cells[PAGE_FLAGS] & PageFlag.PG_hwpoison)


def words(column: str, value: int, was: int) -> list[str]:
    """What *value* is called; of flags, those that were not set, or are no longer."""
    names = NAMES.get(column)
    if names is None:
        return [""]
    if not issubclass(names, IntFlag):
        return [names(value).name]
    set_now = [str(flag.name) for flag in names if value & ~was & int(flag)]
    return set_now + [f"without {flag.name}" for flag in names if was & ~value & int(flag)]


def of_vmemmap(kernel: Kernel, booted: Kernel) -> list[str]:
    """Whether vmemmap differs, and whether only where boot memory was added again."""
    geometry = kernel.geometry
    starts, now, then = aligned(kernel.vmemmap, booted.vmemmap)
    again = [
        geometry.memmap_of(pfns)
        for pfns in map(geometry.section_pfns, geometry.sections_of(geometry.all_pfns))
        if booted.pfns.at(pfns.start_pfn, "section_flags") & SectionFlag.IS_EARLY
        and not kernel.pfns.at(pfns.start_pfn, "section_flags") & SectionFlag.IS_EARLY
        and kernel.pfns.at(pfns.start_pfn, "memmap")
    ]
    changed = starts[(now != then).any(axis=1)].tolist()
    inside = all(any(p.start_pfn <= page < p.end_pfn for p in again) for page in changed)
    return [AGAIN if changed and inside else "vmemmap"]


def of_nodes(kernel: Kernel, booted: Kernel) -> list[str]:
    """Numbers of zones; where an empty one would begin, or what is known of it, does not matter."""
    now, then = (each.nodes.zone_cells.copy() for each in (kernel, booted))
    for cells in (now, then):
        empty = cells[:, :, SPANNED] == 0
        cells[empty, START] = cells[empty, CONTIGUOUS] = 0
    found = [BROKEN] if broken_blocks(kernel, booted) else []
    lost = (now < then)[:, :, CONTIGUOUS] & (now[:, :, SPANNED] > 0)
    for nid, zone in np.argwhere(lost).tolist():
        if has_no_hole(kernel.extents(), nid, ZoneType(zone)):
            now[nid, zone, CONTIGUOUS] = 1
            found.append(NOT_CONTIGUOUS)
    for zone, number in np.argwhere((now != then).any(axis=0)).tolist():
        span = zone == ZoneType.ZONE_DEVICE and number in (START, SPANNED)
        name = f"{ZONE_NUMBERS[number]} of {ZoneType(zone).name}"
        found += [DEVICE_SPAN] if span else [name] if not broken_blocks(kernel, booted) else []
    return found


def of_blocks(kernel: Kernel, booted: Kernel) -> list[str]:
    """Whether memory blocks differ, and whether only by the pages that broke."""
    offline = broken_blocks(kernel, booted)
    now = {
        block_id: booted.blocks[block_id] if block_id in offline else replace(block, broken=())
        for block_id, block in kernel.blocks.items()
    }
    return [BROKEN if now == booted.blocks else "blocks"]


def broken_blocks(kernel: Kernel, booted: Kernel) -> set[int]:
    """Blocks of boot memory that may not go online again: a page of theirs broke."""
    return {
        block_id
        for block_id, block in kernel.blocks.items()
        if block.broken and block.state != BlockState.MEM_ONLINE and block_id in booted.blocks
    }


DETAILS = {"pfns": of_pfns, "nodes": of_nodes, "vmemmap": of_vmemmap, "blocks": of_blocks}
