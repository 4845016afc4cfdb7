"""vmemmap on ia64: arch/ia64/mm/discontig.c."""

from __future__ import annotations

from hotplug_model.kernel import Kernel
from hotplug_model.mm.sparse_vmemmap import vmemmap_populate_basepages
from hotplug_model.pfn import PfnRange
from hotplug_model.state.altmap import Altmap


def vmemmap_populate(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Map *pages* of vmemmap by base pages of RAM, whatever *altmap* offers.

    Refuses with -ENOMEM.

    Source: vmemmap_populate().
    """
    vmemmap_populate_basepages(kernel, pages, None)


def vmemmap_free(kernel: Kernel, pages: PfnRange, altmap: Altmap | None) -> None:
    """Free nothing: the memmap of what is removed stays, and is found there if it returns.

    Source: vmemmap_free().
    """
