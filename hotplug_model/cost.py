"""What the memmap of a hot-added range costs, and what adding and removing it leaks.

Nothing is computed on paper: a machine boots, the range comes and goes, and the pages are
counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import gcd, lcm

from hotplug_model import steps
from hotplug_model.boot import BootLayout
from hotplug_model.changes import KernelVariant
from hotplug_model.errors import KernelRefusal, UserError
from hotplug_model.flags import MHP_MEMMAP_ON_MEMORY, MemmapOrigin
from hotplug_model.geometry import Geometry
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.ops.memory_hotplug import AddMemory, RemoveMemory
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.pfn import PfnRange

OUT_OF_PAGES = (MemmapOrigin.BOOT, MemmapOrigin.BUDDY)
"""Whose pages the ledger counts; of an altmap's only those that are mapped are known."""
PAGE_TABLES = "PAGE_TABLES"
MERGE_AT = ("sparse_init_one_section", "depopulate_section_memmap")
"""Milestones once a section. Without merging there a table of 3 TiB grows a run for each."""

INITIALISED_AT = ("memmap_init_range", "constructor")
"""Milestones behind which struct pages of a device are initialised under the lock."""

Pages = Counter[str]
"""Pages by where they came from, pages of PTEs apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRequest:
    """What comes and goes, and how often."""

    variant: KernelVariant
    geometry: Geometry
    size_bytes: int
    cycles: int
    device: bool = False
    """As ZONE_DEVICE rather than as System RAM."""
    altmap: bool = False
    """The memory holds its own memmap, where it can."""


@dataclass(slots=True)
class Initialised:
    """How many struct pages of device memory were initialised, and when."""

    locked: int = 0
    """While mem_hotplug_lock was held."""
    unlocked: int = 0
    twice: int = 0
    """Of the latter, those that had been initialised under the lock already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What was counted. All pages are base pages."""

    pfns: PfnRange
    needed: Pages
    """What the first add took."""
    left: list[Pages]
    """What was in use after each cycle and not at boot; negative if boot memory went."""
    unmapped: int
    """Of what is left at the end, pages that nothing maps any more: lost for good."""
    breaches: Counter[str]
    """In how many places each law of the ledger was broken."""
    initialised: Initialised
    """By the first add of a device; System RAM is initialised when it goes online."""
    refused: str
    """Why the last cycle could not add the range; empty if it could."""

    @property
    def leaked(self) -> Pages:
        """What is left at the end."""
        return self.left[-1] if self.left else Counter()


def cost(request: CostRequest) -> Cost:
    """Boot, add, remove, and so on, counting. :class:`UserError` if nothing can be added."""
    pfns = place(request)
    kernel = Kernel.boot(request.geometry, request.variant.rules(), layout(request))
    boot = in_use(kernel)
    there, back = operations(request, kernel, pfns)
    needed: Pages = Counter()
    left: list[Pages] = []
    refused, initialised = "", None
    for cycle in range(request.cycles):
        visits = Initialised()
        refusal = carry_out(kernel, there, visits)
        initialised = initialised or visits
        if refusal is not None and cycle == 0:
            raise UserError(f"cost: the kernel refuses to add {pfns}: {refusal}")
        if refusal is not None:
            refused = f"cycle {cycle + 1}: {refusal}"
            break
        needed = needed or difference(in_use(kernel), boot)
        carry_out(kernel, back, Initialised())
        left.append(difference(in_use(kernel), boot))
    breaches = Counter(entry.law.name for entry in kernel.ledger.breaches)
    return Cost(
        pfns=pfns, needed=needed, left=left, unmapped=nr_unmapped(kernel), breaches=breaches,
        initialised=initialised or Initialised(), refused=refused,
    )  # fmt: skip


def place(request: CostRequest) -> PfnRange:
    """Where the range goes: where its memmap begins a huge mapping, so that it shares none with
    that of boot memory; right behind boot memory if there is no room for that.

    :class:`UserError` if it is no multiple of what can be added, or does not fit.
    """
    geometry = request.geometry
    unit = geometry.pages_per_subsection if request.device else geometry.pages_per_section
    nr_pages, rest = divmod(request.size_bytes, geometry.page_bytes)
    if rest or nr_pages % unit or not nr_pages:
        what = "subsections" if request.device else "sections"
        raise UserError(
            f"cost: {request.size_bytes} bytes are no whole {what} of "
            f"{unit * geometry.page_bytes} bytes"
        )
    section = geometry.pages_per_section
    huge = geometry.huge_pages * geometry.page_bytes
    apart = lcm(section, huge // gcd(huge, geometry.struct_page_bytes))
    for start in (apart, section):
        if start + nr_pages <= geometry.all_pfns.end_pfn:
            return PfnRange(start, start + nr_pages)
    most = (geometry.all_pfns.end_pfn - section) * geometry.page_bytes
    raise UserError(f"cost: {request.size_bytes} bytes do not fit, {most} do")


def layout(request: CostRequest) -> BootLayout:
    """One section of RAM, and memory blocks of one section."""
    ram = request.geometry.section_pfns(0)
    return BootLayout(
        ram=((ram, 0),), window=(ram,), memmap_on_memory=request.altmap and not request.device
    )


def operations(request: CostRequest, kernel: Kernel, pfns: PfnRange) -> tuple[Op, Op]:
    """How the range comes and how it goes."""
    if request.device:
        regions = request.geometry.huge_regions(request.geometry.memmap_of(pfns))
        room = min(sum(region.nr_pages for region in regions), pfns.nr_pages - 1)
        altmap = (0, room) if request.altmap else ()
        return MemremapPages(0, (pfns,), "generic", 0, altmap), MemunmapPages(0)
    flags = MHP_MEMMAP_ON_MEMORY if request.altmap else 0
    return AddMemory(0, pfns, flags), RemoveMemory(pfns)


def carry_out(kernel: Kernel, op: Op, visits: Initialised) -> KernelRefusal | None:
    """Run *op* without anybody looking, and count its *visits*; the refusal, if any."""
    before = nr_with_a_map(kernel), 0

    def at(milestone: str) -> None:
        nonlocal before
        if milestone in MERGE_AT:
            merge(kernel)
        elif milestone in INITIALISED_AT and kernel.locks.mem_hotplug:
            visits.locked = nr_device_pages(kernel)
        elif milestone == "memmap_init_zone_device":
            before = nr_with_a_map(kernel), nr_device_pages(kernel)
        elif milestone == "memmap_init_zone_device_done":
            visits.unlocked = nr_with_a_map(kernel) - before[0]
            visits.twice = visits.unlocked - (nr_device_pages(kernel) - before[1])

    kernel.notified.clear()
    refusal = steps.run(op.steps(kernel), at)
    merge(kernel)
    return refusal


def nr_device_pages(kernel: Kernel) -> int:
    """Initialised struct pages of ZONE_DEVICE."""
    x = kernel.extents()
    return int(x.nr_pages[x.is_zone_device].sum())


def nr_with_a_map(kernel: Kernel) -> int:
    """Those of them that point to their map: all but what holds the memmap."""
    x = kernel.extents()
    return int(x.nr_pages[x.is_zone_device & (x.page_pgmap >= 0)].sum())


def merge(kernel: Kernel) -> None:
    """Join equal runs of both tables."""
    kernel.pfns.merge()
    kernel.vmemmap.merge()


def in_use(kernel: Kernel) -> Pages:
    """Pages that were allocated for vmemmap and not given back to who had them, and pages of
    PTEs."""
    pages = Counter({o.name: nr for o, nr in kernel.vmemmap.live_pages().items()})
    for origin in OUT_OF_PAGES:
        pages[origin.name] = gone_from(kernel, origin)
    pages[PAGE_TABLES] = nr_page_tables(kernel)
    return pages


def difference(now: Pages, then: Pages) -> Pages:
    """What there is more, or less, without what is as it was."""
    return Counter({name: now[name] - then[name] for name in now if now[name] != then[name]})


def nr_page_tables(kernel: Kernel) -> int:
    """Pages of PTEs; each maps one huge region."""
    table = kernel.vmemmap
    pages = (table.end_pfn - table.start_pfn)[table.column("page_table") != 0].sum()
    return int(pages) // kernel.geometry.huge_pages


def nr_unmapped(kernel: Kernel) -> int:
    """Pages that the ledger misses and that no mapping has."""
    live = kernel.vmemmap.live_pages()
    return sum(gone_from(kernel, origin) - live[origin] for origin in OUT_OF_PAGES)


def gone_from(kernel: Kernel, origin: MemmapOrigin) -> int:
    """Pages that an allocator gave and never got back."""
    return kernel.ledger.outstanding[origin] + kernel.ledger.lost[origin]
