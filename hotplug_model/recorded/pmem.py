"""What ``ndctl`` and ``daxctl`` make the drivers of persistent memory do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from hotplug_model.errors import KernelRefusal, UserError
from hotplug_model.flags import BlockState
from hotplug_model.kernel import Kernel
from hotplug_model.mm import base_memory
from hotplug_model.mm.dax_kmem import dax_kmem_range, dev_dax_kmem_probe, dev_dax_kmem_remove
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import Steps

DRIVER_PGMAP = 63
"""The id of the map that a driver of the kernel made; recorded as 99."""
INFO_BLOCK_PAGES = 2
"""SZ_8K in front of the memmap of a pmem namespace."""
NAMESPACE_ALIGN = 512
"""memremap_compat_align() and the namespaces' own alignment: 2 MiB."""
LEGACY, NFIT = "Persistent Memory (legacy)", "Persistent Memory"
"""What firmware calls memory that e820 or ACPI knows of."""

Request: TypeAlias = Callable[[Kernel], Steps]


@dataclass(slots=True)
class Pmem:
    """One region of persistent memory with at most one namespace."""

    pfns: PfnRange | None = None
    """The region; None if the machine has none."""
    maps_raw: bool = False
    """Whether a raw namespace has struct pages: ND_REGION_PAGEMAP, set for e820 only."""
    full: bool = True
    """Whether a namespace takes all of the region."""
    has_kmem: bool = True
    """CONFIG_DEV_DAX_KMEM."""
    altmap_pages: int = 0
    """Pages of the namespace's altmap; 0 if the memmap lies in RAM."""

    @classmethod
    def of(cls, kernel: Kernel, has_kmem: bool) -> Pmem:
        """The region that the firmware of *kernel* names."""
        for name in (LEGACY, NFIT):
            for pfns in kernel.iomem.named(name):
                return cls(pfns, maps_raw=name == LEGACY, has_kmem=has_kmem)
        return cls(has_kmem=has_kmem)

    def bind_raw(self) -> list[Request]:
        """The driver finds a raw namespace."""
        return [self._map(0, devdax=False)] if self.maps_raw else []

    def command(self, command: str) -> list[Request] | None:
        """What a shell command of either tool does; None if it is no such command."""
        if "ndctl create-namespace" in command:
            return self._create_namespace(command)
        if "ndctl disable-namespace" in command:
            self.full = "destroy-namespace" not in command
            return [swallow(MemunmapPages(DRIVER_PGMAP).steps)]
        if "daxctl reconfigure-device" in command:
            if "--mode=system-ram" in command:
                return [swallow(self._to_ram(self.data))]
            return [swallow(self._to_devdax(self.data, " -f " in command))]
        return [] if re.match(r"(ndctl|daxctl) list", command) else None

    def _create_namespace(self, command: str) -> list[Request]:
        """nd_pfn_init(): where the data of a pmem namespace starts, and its altmap.

        A new one needs room in the region; ``-e`` makes an old one anew.

        Source: drivers/nvdimm/pfn_devs.c.
        """
        mode = re.search(r" -m (\w+) -M (\w+)", command)
        if self.pfns is None or mode is None:
            raise UserError(f"shell command {command[:50]!r} has no translation here")
        if self.full and " -e " not in command:
            return []
        self.full, self.altmap_pages = True, 0
        if mode[2] == "dev":
            memmap = (self.pfns.nr_pages - INFO_BLOCK_PAGES) * 64 >> 12
            start = self.pfns.start_pfn + INFO_BLOCK_PAGES + memmap + 1
            data = -(-start // NAMESPACE_ALIGN) * NAMESPACE_ALIGN
            self.altmap_pages = data - self.pfns.start_pfn - INFO_BLOCK_PAGES
        unmap = swallow(MemunmapPages(DRIVER_PGMAP).steps)
        return [unmap, self._map(self.altmap_pages, mode[1] == "devdax")]

    def _map(self, altmap_pages: int, devdax: bool) -> Request:
        """Device DAX maps compound pages of its alignment: dev_dax_probe()."""
        if self.pfns is None:
            return lambda kernel: iter_nothing()
        altmap = (INFO_BLOCK_PAGES, altmap_pages) if altmap_pages else ()
        kind = "generic" if devdax else "fs_dax"
        shift = NAMESPACE_ALIGN.bit_length() - 1 if devdax else 0
        return map_device(MemremapPages(DRIVER_PGMAP, (self.pfns,), kind, 0, altmap, shift))

    @property
    def data(self) -> PfnRange:
        """What of the namespace the dax device has."""
        if self.pfns is None:
            raise UserError("there is no dax device to reconfigure")
        first = self.pfns.start_pfn + INFO_BLOCK_PAGES + self.altmap_pages
        return PfnRange(-(-first // NAMESPACE_ALIGN) * NAMESPACE_ALIGN, self.pfns.end_pfn)

    def _to_ram(self, data: PfnRange) -> Request:
        """device_dax is unbound, then kmem is bound, if the kernel has it."""

        def steps(kernel: Kernel) -> Steps:
            yield from MemunmapPages(DRIVER_PGMAP).steps(kernel)
            if self.has_kmem:
                yield from dev_dax_kmem_probe(kernel, (data,), 0)

        return steps

    def _to_devdax(self, data: PfnRange, force: bool) -> Request:
        """Back again; daxctl does not start while memory is online, unless by force.

        A kernel without kmem has device_dax built in, and daxctl misses its module.
        """

        def steps(kernel: Kernel) -> Steps:
            blocks = kernel.blocks_in(dax_kmem_range(kernel, data))
            online = [b for b in blocks if kernel.blocks[b].state == BlockState.MEM_ONLINE]
            if (online and not force) or not self.has_kmem:
                return
            for block_id in online:
                yield from base_memory.device_offline(kernel, block_id, False)
            yield from dev_dax_kmem_remove(kernel)
            yield from self._map(self.altmap_pages, devdax=True)(kernel)

        return steps


def map_device(op: MemremapPages) -> Request:
    """*op*, with compound pages if the kernel has them.

    They came in v5.17 (commit 4917f55b4ef9's series), their deduplication in v5.19; no
    release between these was recorded.
    """

    def steps(kernel: Kernel) -> Steps:
        known = op if kernel.rules.vmemmap_dedup else replace(op, vmemmap_shift=0)
        yield from known.steps(kernel)

    return steps


def iter_nothing() -> Steps:
    """No steps at all."""
    yield from ()


def swallow(request: Request) -> Request:
    """*request* as a shell runs it: its errno is not recorded."""

    def steps(kernel: Kernel) -> Steps:
        try:
            yield from request(kernel)
        except KernelRefusal:
            return

    return steps
