"""Architectures as presets, and what becomes of memory on each: operation by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from errno import errorcode
from typing import TypeAlias

from hotplug_model.boot import LAYOUTS
from hotplug_model.changes import KernelVariant
from hotplug_model.checker import carry_out
from hotplug_model.errors import KernelRefusal
from hotplug_model.flags import LinearMap, MemoryClass, ZoneType
from hotplug_model.geometry import GEOMETRIES, TINY
from hotplug_model.kernel import Kernel
from hotplug_model.ops import Op
from hotplug_model.ops.memory_block import OnlineMemoryBlock
from hotplug_model.ops.memory_hotplug import AddMemory, RemoveMemory
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.registry import Registry

ARCHITECTURES: Registry[str] = Registry("architecture")
"""The geometry with small numbers of each: what ``--arch`` stands for."""
for name in ("ia64", "powerpc", "s390", "sh", "tile", "x86_32"):
    ARCHITECTURES.add(name.replace("_", "-"), f"tiny_{name}")
ARCHITECTURES.add("x86-64", "tiny")
ARCHITECTURES.add("arm64", "tiny_arm64")

FREE, BEHIND = TINY.section_pfns(2), TINY.section_pfns(3)
"""What is asked about; all geometries with small numbers have it."""
BEFORE_5_7 = ("bbd6ec605c0f",)
BEFORE_4_13 = ("shrink-asks-online", "feee6b298916", "f1dd2cd13c4b")
SEED = "seed003-unaddressable"
REACHED = {
    LinearMap.NONE: "not mapped", LinearMap.MAPPED: "mapped", LinearMap.STRAY: "still mapped",
    LinearMap.TORN: "unmapped too early", LinearMap.HIGHMEM: "by kmap()",
}  # fmt: skip
CLASSES = {
    MemoryClass.SYSTEM_RAM: "System RAM",
    MemoryClass.ADDRESSABLE: "device, addressable",
    MemoryClass.MOVABLE: "device, movable",
    MemoryClass.UNADDRESSABLE: "device, unaddressable",
}
Question: TypeAlias = tuple[Op, ...]
"""Operations, the last of which is asked about."""
Apply: TypeAlias = Callable[[Kernel, Op], KernelRefusal | None]
"""Carries an operation out."""


def plainly(kernel: Kernel, op: Op) -> KernelRefusal | None:
    """Nobody looks on."""
    return carry_out(kernel, op)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A row of the matrix: what is asked of every architecture."""

    memory: MemoryClass
    operation: str
    ops: Question
    changes: tuple[str, ...] = ()
    """On mainline, or with these."""
    shows_zone: bool = False
    """Whether what matters is the zone that the memory belongs to."""
    unknown_to: tuple[str, ...] = ()
    """Architectures that did not add such memory yet."""

    def outcome(self, architecture: str, apply: Apply = plainly) -> str:
        """The errno of the last operation, and how the CPU reaches the memory after it.

        In parentheses: the errno of one before it, so that there is nothing to ask.
        """
        if architecture in self.unknown_to:
            return "not yet"
        kernel = machine(architecture, self.changes)
        *before, refusal = [apply(kernel, op) for op in self.ops]
        for earlier in filter(None, before):
            return f"(-{errorcode[earlier.errno]})"
        err = f"-{errorcode[refusal.errno]}" if refusal else ""
        if self.shows_zone:
            pfn = FREE.start_pfn if self.ops[-1] == ADD else BEHIND.start_pfn
            return ZoneType(kernel.pfns.at(pfn, "zone")).label
        reached = REACHED[LinearMap(kernel.pfns.at(FREE.start_pfn, "linear_map"))]
        return ", ".join(filter(None, (err, reached)))


def machine(architecture: str, changes: tuple[str, ...] = ()) -> Kernel:
    """It has just booted, and section 2 is free."""
    geometry = GEOMETRIES[ARCHITECTURES[architecture]]
    rules = KernelVariant.named(None, changes).rules()
    return Kernel.boot(geometry, rules, LAYOUTS["collision"](geometry))


def device(kind: str) -> MemremapPages:
    """The section as a device's."""
    return MemremapPages(0, (FREE,), kind, 0, ())


ADD, REMOVE, UNMAP = AddMemory(0, FREE, 0), RemoveMemory(FREE), MemunmapPages(0)
RAM, PMEM, HMM = MemoryClass.SYSTEM_RAM, MemoryClass.ADDRESSABLE, MemoryClass.UNADDRESSABLE
COHERENT = MemoryClass.MOVABLE
ROWS: Sequence[Asked] = (
    Asked(memory=RAM, operation="add_memory()", ops=(ADD,)),
    Asked(
        memory=RAM, operation="add_memory(), and the linear map fails",
        ops=(replace(ADD, fail_at="linear_map"),),
    ),
    Asked(
        memory=RAM, operation="add_memory(), and __add_pages() fails",
        ops=(replace(ADD, fail_at="usage"),),
    ),
    Asked(
        memory=RAM, operation="the same before ca2c36cae9d4",
        ops=(replace(ADD, fail_at="usage"),), changes=("ca2c36cae9d4",),
    ),
    Asked(memory=RAM, operation="remove_memory()", ops=(ADD, REMOVE)),
    Asked(
        memory=RAM, operation="remove_memory() before 18c86506c80f", ops=(ADD, REMOVE),
        changes=("18c86506c80f",),
    ),
    Asked(
        memory=RAM, operation="remove_memory() before bbd6ec605c0f", ops=(ADD, REMOVE),
        changes=BEFORE_5_7,
    ),
    Asked(
        memory=RAM, operation="add_memory() before 4ab215061554", ops=(ADD,),
        changes=(*BEFORE_5_7, "4ab215061554"),
    ),
    Asked(
        memory=RAM, operation="add_memory() with MEMORY_UNADDRESSABLE, as seed 003 has it",
        ops=(ADD,), changes=(SEED, "seed003-flags-on-ram"),
    ),
    Asked(
        memory=RAM, operation="zone of add_memory() before f1dd2cd13c4b", ops=(ADD,),
        changes=BEFORE_4_13, shows_zone=True, unknown_to=("arm64",),
    ),
    Asked(
        memory=RAM, operation="the same behind memory that is online_movable",
        ops=(ADD, OnlineMemoryBlock(2, "online_movable"), AddMemory(0, BEHIND, 0)),
        changes=BEFORE_4_13, shows_zone=True, unknown_to=("arm64",),
    ),
    Asked(memory=PMEM, operation="memremap_pages()", ops=(device("generic"),)),
    Asked(
        memory=PMEM, operation="memremap_pages() before v4.13", ops=(device("generic"),),
        changes=(*BEFORE_5_7, "powerpc-zone-device", "d438d2734170"),
    ),
    Asked(
        memory=PMEM, operation="memremap_pages(), and the linear map fails",
        ops=(replace(device("generic"), fail_at="linear_map"),),
    ),
    Asked(
        memory=PMEM, operation="memremap_pages(), and __add_pages() fails",
        ops=(replace(device("generic"), fail_at="usage"),),
    ),
    Asked(memory=PMEM, operation="memunmap_pages()", ops=(device("generic"), UNMAP)),
    Asked(
        memory=PMEM, operation="memremap_pages(), peer-to-peer memory of PCI",
        ops=(device("pci_p2pdma"),),
    ),
    Asked(memory=COHERENT, operation="memremap_pages()", ops=(device("coherent"),)),
    Asked(memory=COHERENT, operation="memunmap_pages()", ops=(device("coherent"), UNMAP)),
    Asked(memory=HMM, operation="memremap_pages()", ops=(device("private"),)),
    Asked(
        memory=HMM, operation="memremap_pages(), and __add_pages() fails",
        ops=(replace(device("private"), fail_at="usage"),),
    ),
    Asked(memory=HMM, operation="memunmap_pages()", ops=(device("private"), UNMAP)),
    Asked(
        memory=HMM, operation="memremap_pages() as seed 003 has it", ops=(device("private"),),
        changes=(SEED,),
    ),
)  # fmt: skip
"""Every operation that comes to arch_add_memory() or arch_remove_memory(), by class."""
