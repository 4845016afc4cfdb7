"""What a kernel consists of, as bytes, so that a check need not ask twice about the same.

A state is all of its parts. A law names those that it reads, and rows of the memmap are judged
by a few facts of the others: which maps are live, what zones span, what is System RAM.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from hotplug_model.contiguous import contiguous_zones
from hotplug_model.flags import RefState
from hotplug_model.state.resource import SYSTEM_RAM
from hotplug_model.state.zone import PRESENT, SPANNED, START

if TYPE_CHECKING:
    from hotplug_model.kernel import Kernel
    from hotplug_model.state.dev_pagemap import DevPagemap
    from hotplug_model.state.memory_block import MemoryBlock


def parts_of(kernel: Kernel, names: Iterable[str] | None = None) -> dict[str, bytes]:
    """Each of the :data:`PARTS`, or of those *names*: equal bytes where they are the same, in
    any process.

    Nobody but operations asks for device_hotplug_lock, so it is in none.
    """
    return {name: PARTS[name](kernel) for name in (PARTS if names is None else names)}


def lent(kernel: Kernel) -> bytes:
    """What a hypervisor has of its memory, and what it holds back."""
    return packed(kernel.lender.numbers()) if kernel.lender is not None else b""


def marked(kernel: Kernel) -> bytes:
    """The regions of memblock where it keeps marks: with what lies behind the last of them
    where that is read."""
    unused = kernel.rules.unused_vmemmap
    if unused is None or not unused.uses_marks:
        return b""
    return packed(kernel.memblock.numbers(stale=not unused.helpers.stops_at_cnt))


def roots(kernel: Kernel) -> bytes:
    """Entries of mem_section that exist, where it matters which."""
    return b"" if kernel.rules.existing_root_is_success else packed(sorted(kernel.section_roots))


def huge_pages(kernel: Kernel) -> bytes:
    """Where HugeTLB pages lie: pairs of pfns."""
    return packed(pfn for pfns in kernel.hugetlb for pfn in (pfns.start_pfn, pfns.end_pfn))


def live(kernel: Kernel) -> bytes:
    """Ids of the maps whose reference is not killed."""
    maps = sorted(kernel.pgmaps.items())
    return packed(pgmap_id for pgmap_id, pgmap in maps if pgmap.ref == RefState.LIVE)


def spans(kernel: Kernel) -> bytes:
    """What each zone spans, whether it is populated, and whether it is known to have no hole."""
    zones = kernel.nodes.zone_cells
    known = (zones[:, :, PRESENT] > 0).tobytes() + contiguous_zones(kernel).tobytes()
    return zones[:, :, (START, SPANNED)].tobytes() + known


def zones_of_blocks(kernel: Kernel) -> bytes:
    """Each block's zone, and how much of its own memmap it holds."""
    blocks: list[int] = []
    for block_id, block in sorted(kernel.blocks.items()):
        zone = -1 if block.zone is None else block.zone
        blocks += (block_id, zone, block.nr_vmemmap_pages)
    return packed(blocks)


def system_ram(kernel: Kernel) -> bytes:
    """Where System RAM lies: pairs of pfns."""
    ranges = kernel.iomem.named(SYSTEM_RAM)
    return packed(pfn for pfns in ranges for pfn in (pfns.start_pfn, pfns.end_pfn))


PARTS: dict[str, Callable[[Kernel], bytes]] = {
    "pfns": lambda kernel: kernel.pfns.fingerprint(),
    "vmemmap": lambda kernel: kernel.vmemmap.fingerprint(),
    "nodes": lambda kernel: kernel.nodes.fingerprint(),
    "iomem": lambda kernel: packed(kernel.iomem.numbers()),
    "blocks": lambda kernel: packed((kernel.num_poisoned_pages, *numbered(kernel.blocks))),
    "pgmaps": lambda kernel: packed((kernel.devmap_managed_key, *numbered(kernel.pgmaps))),
    "ledger": lambda kernel: packed(kernel.ledger.numbers()),
    "lender": lent,
    "locks": lambda kernel: kernel.locks.of_hotplug,
    "vetoes": lambda kernel: packed(sorted(kernel.vetoes)),
    "memblock": marked,
    "roots": roots,
    "hugetlb": huge_pages,
}
"""All that a kernel consists of, but for what cannot change or nobody depends on."""
FACTS: dict[str, tuple[str, Callable[[Kernel], bytes]]] = {
    "live": ("pgmaps", live),
    "spans": ("nodes", spans),
    "zones_of_blocks": ("blocks", zones_of_blocks),
    "system_ram": ("iomem", system_ram),
}
"""What rows of the memmap are judged by besides what they hold: each follows from one of
the parts, and changes less often."""
ROWS = frozenset({"pfns", "locks", *FACTS})
"""What a verdict on rows depends on."""


def packed(numbers: Iterable[int]) -> bytes:
    """*numbers* as bytes."""
    return array("q", numbers).tobytes()


def joined(parts: Mapping[str, bytes]) -> bytes:
    """All *parts* in one, so that equal bytes mean equal parts."""
    return packed(map(len, parts.values())) + b"".join(parts.values())


def numbered(table: Mapping[int, MemoryBlock | DevPagemap]) -> list[int]:
    """Every field of every entry of a table, in order."""
    numbers: list[int] = []
    for number, entry in sorted(table.items()):
        numbers += (number, *entry.numbers())
    return numbers
