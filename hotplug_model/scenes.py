"""The shortest ways to each state of a page: where the audit looks at its users."""

from __future__ import annotations

from dataclasses import dataclass

from hotplug_model.boot import LAYOUTS
from hotplug_model.checker import carry_out
from hotplug_model.extents import Extents
from hotplug_model.flags import MHP_MEMMAP_ON_MEMORY
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.ops.hv_balloon import HotAddReq
from hotplug_model.ops.memory_block import OfflineMemoryBlock, OnlineMemoryBlock
from hotplug_model.ops.memory_failure import HardOfflinePage
from hotplug_model.ops.memory_hotplug import AddMemory
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.ops.virtio_mem import VirtioMemProbe, VirtioMemRequest
from hotplug_model.ops.xen_balloon import DecreaseReservation
from hotplug_model.page_state import PageState
from hotplug_model.pfn import PfnRange
from hotplug_model.rules import KernelRules

GEOMETRY = "tiny"
SIZES = GEOMETRIES[GEOMETRY]
SECTION = SIZES.section_pfns(2)
"""Behind all boot memory of most layouts."""
PAIR = PfnRange(SECTION.start_pfn, SECTION.end_pfn + SECTION.nr_pages)
PAIR_MEMMAP = 2 * SIZES.memmap_pages_per_section
HOLE = LAYOUTS["collision"](SIZES).ram[-1][0].end_pfn
SHARED = PfnRange(HOLE, HOLE + SIZES.pages_per_subsection)
"""The first subsection of the hole that boot left in an early section."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Operations on a machine, and the milestone of the last one at which to look."""

    name: str
    shows: PageState
    """The state that it is there for."""
    boot: str = "collision"
    ops: tuple[Op, ...] = ()
    milestone: str = ""
    """Empty: behind every operation."""

    def looks(self, rules: KernelRules) -> list[Extents]:
        """The machine of a kernel at each moment that counts."""
        kernel = Kernel.boot(SIZES, rules, LAYOUTS[self.boot](SIZES))
        seen = [] if self.milestone else [kernel.snapshot()]

        def at(milestone: str) -> None:
            if milestone == self.milestone:
                seen.append(kernel.snapshot())

        for op in self.ops:
            carry_out(kernel, op, at)
            if not self.milestone:
                seen.append(kernel.snapshot())
        return [each.extents() for each in seen]


def device(pfns: PfnRange, kind: str = "generic", altmap: tuple[int, ...] = ()) -> Op:
    """A map of one range."""
    return MemremapPages(0, (pfns,), kind, 0, altmap)


ADD = AddMemory(0, SECTION, 0)
ONLINE = OnlineMemoryBlock(2, "online")
OFFLINE = OfflineMemoryBlock(2, unmovable=False)
PART = SIZES.pageblock_nr_pages
LEND = (VirtioMemProbe(SECTION, 0, PART, force_bbm=False), VirtioMemRequest(2 * PART), ONLINE)
"""A block of which a hypervisor lends a half."""
SCENES = (
    Scene(name="boot", shows=PageState.BOOT_HOLE),
    Scene(name="boot memory", shows=PageState.BOOT_RESERVED, boot="boot-reserved"),
    Scene(name="online", shows=PageState.ONLINE, ops=(ADD, ONLINE)),
    Scene(
        name="on its way online", shows=PageState.ONLINING, ops=(ADD, ONLINE),
        milestone="MEM_GOING_ONLINE",
    ),
    Scene(
        name="memmap on memory", shows=PageState.SELF_HOSTED, boot="memmap-on-memory",
        ops=(AddMemory(0, SECTION, MHP_MEMMAP_ON_MEMORY), ONLINE),
    ),
    Scene(name="not plugged", shows=PageState.FAKE_OFFLINE, ops=LEND),
    Scene(name="unplugged", shows=PageState.FAKE_OFFLINE, ops=(*LEND, VirtioMemRequest(PART))),
    Scene(
        name="ballooned", shows=PageState.FAKE_OFFLINE,
        ops=(ADD, ONLINE, DecreaseReservation(PfnRange(SECTION.start_pfn, SECTION.start_pfn + 1))),
    ),
    Scene(name="in Xen's balloon", shows=PageState.WITHHELD, boot="xen", ops=(ADD, ONLINE)),
    Scene(
        name="not backed by Hyper-V", shows=PageState.WITHHELD, boot="hyper-v",
        ops=(HotAddReq(PfnRange(SECTION.start_pfn, SECTION.start_pfn + 1)), ONLINE),
    ),
    Scene(
        name="added by another than Hyper-V", shows=PageState.WITHHELD, boot="hyper-v",
        ops=(ADD, ONLINE),
    ),
    Scene(
        name="broken", shows=PageState.HWPOISON,
        ops=(ADD, ONLINE, HardOfflinePage(SECTION.start_pfn)),
    ),
    Scene(name="added", shows=PageState.OFFLINE_POISONED, ops=(ADD,)),
    Scene(name="added, no poison", shows=PageState.NEVER_ONLINED, boot="stale", ops=(ADD,)),
    Scene(
        name="offline again", shows=PageState.WAS_ONLINE, boot="stale", ops=(ADD, ONLINE, OFFLINE)
    ),
    *(
        Scene(name=f"{kind} device", shows=state, ops=(device(SECTION, kind),))
        for kind, state in (
            ("private", PageState.PRIVATE), ("coherent", PageState.COHERENT),
            ("fs_dax", PageState.FS_DAX), ("generic", PageState.GENERIC),
            ("pci_p2pdma", PageState.PCI_P2PDMA),
        )
    ),
    *(
        Scene(name=f"{kind} device beside RAM", shows=state, ops=(device(SHARED, kind),))
        for kind, state in (
            ("fs_dax", PageState.FS_DAX), ("generic", PageState.GENERIC),
            ("pci_p2pdma", PageState.PCI_P2PDMA),
        )
    ),
    Scene(
        name="altmap", shows=PageState.ALTMAP_FREE, ops=(device(PAIR, "fs_dax", (0, PAIR_MEMMAP)),)
    ),
    Scene(
        name="altmap of private memory", shows=PageState.ALTMAP_FREE,
        ops=(device(PAIR, "private", (0, PAIR_MEMMAP)),),
    ),
    Scene(
        name="altmap with a reserve", shows=PageState.ALTMAP_RESERVE,
        ops=(device(PAIR, "fs_dax", (SIZES.memmap_pages_per_section, PAIR_MEMMAP)),),
    ),
    Scene(
        name="device on its way", shows=PageState.UNFINISHED, ops=(device(SECTION),),
        milestone="memmap_init_zone_device",
    ),
    Scene(
        name="device gone", shows=PageState.LEFT_POISONED, ops=(device(SHARED), MemunmapPages(0))
    ),
    Scene(
        name="device gone, no poison", shows=PageState.LEFT_STALE, boot="stale",
        ops=(device(SHARED), MemunmapPages(0)),
    ),
)  # fmt: skip
"""In which order the first witness of a decision is looked for."""
