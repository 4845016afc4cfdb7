"""Which memmaps are deduplicated: include/linux/mm.h."""

from __future__ import annotations

from hotplug_model.kernel import Kernel
from hotplug_model.state.altmap import Altmap
from hotplug_model.state.dev_pagemap import DevPagemap
from hotplug_model.state.vmemmap import VMEMMAP_RESERVE_NR

DEDUP_ARCHES = frozenset({"x86"})
"""Who selects ARCH_WANT_OPTIMIZE_DAX_VMEMMAP, of the architectures modelled here."""


def vmemmap_can_optimize(
    kernel: Kernel, altmap: Altmap | None, pgmap: DevPagemap | None
) -> bool:
    """Whether the memmap of *pgmap* is deduplicated.

    Not with an altmap, not where a struct page is no power of two, and only if a
    compound page has more vmemmap pages than are kept.

    Source: vmemmap_can_optimize(), include/linux/mm.h; commit 87a7ae75d738 ("mm/vmemmap/
    devdax: fix kernel crash when probing devdax devices") (in v6.4) for the
    architecture; commit c1a6c536fb08 (in v6.6) for the size.
    """
    if pgmap is None or altmap is not None or not kernel.rules.vmemmap_dedup:
        return False
    size = kernel.geometry.struct_page_bytes
    maps_by_page_tables = kernel.geometry.arch in DEDUP_ARCHES
    if size & (size - 1) or not (
        maps_by_page_tables or not kernel.rules.vmemmap_dedup_needs_the_arch
    ):
        return False
    if not kernel.rules.vmemmap_dedup_needs_an_alias:
        return pgmap.vmemmap_nr > 1
    return pgmap.vmemmap_nr * size >> kernel.geometry.page_shift > VMEMMAP_RESERVE_NR
