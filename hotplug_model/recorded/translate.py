"""What shell and emulator steps of a recording make the kernel do.

A translation may look at what the kernel answered only for what is not an input: the
size of a DIMM (the recording names it by what appeared) and whether an offline request
met an unmovable allocation.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from hotplug_model.errors import KernelRefusal, UserError
from hotplug_model.flags import MHP_MEMMAP_ON_MEMORY, BlockState, NotifierAction, OnlineType
from hotplug_model.kernel import Kernel
from hotplug_model.mm import base_memory
from hotplug_model.ops import Op
from hotplug_model.ops.memory_block import (
    OfflineMemoryBlock,
    OnlineMemoryBlock,
    VetoMemoryNotifier,
)
from hotplug_model.ops.memory_hotplug import AddMemory, RemoveMemory
from hotplug_model.ops.memremap import MemremapPages, MemunmapPages
from hotplug_model.ops.pages import PinPages, UnpinPages
from hotplug_model.ops.resource import ReleaseMemRegion, RequestMemRegion
from hotplug_model.ops.virtio_mem import VirtioMemProbe, VirtioMemRequest
from hotplug_model.pfn import PfnRange
from hotplug_model.recorded.pmem import Pmem, Request, map_device, swallow
from hotplug_model.recorded.recording import MIB_PAGES, VIRTIO, Step, iomem
from hotplug_model.rules import Steps
from hotplug_model.state.resource import SYSTEM_RAM

TYPES = {"generic": "generic", "fsdax": "fs_dax", "p2p": "pci_p2pdma", "private": "private",
         "coherent": "coherent"}  # fmt: skip


class Translator:
    """Turns the steps of one recording into requests, in order."""

    def __init__(self, device_block_pages: int, has_kmem: bool) -> None:
        self.dimms: dict[str, PfnRange] = {}
        self.pmem = Pmem(has_kmem=has_kmem)
        self.device_block_pages = device_block_pages
        self.built_in = False
        """Whether the drivers are part of the kernel, so that no module file exists."""

    def requests(self, step: Step, kernel: Kernel) -> list[Request]:
        """The requests of *step*; the last one's errno is what the step answered."""
        if isinstance(step.op, list):
            return list(self._fuzz(step, step.op))
        verb, _, rest = step.op.partition(" ")
        if verb == "boot":
            self.pmem = Pmem.of(kernel, self.pmem.has_kmem)
            self.built_in = any("namespace" in line for line in step.state.get("iomem", ()))
            lender = list(self._probe_virtio_mem(step))
            self.built_in |= bool(lender)
            return [*self.pmem.bind_raw(), *lender] if self.built_in else []
        if verb.startswith("mod:"):
            return self._module(step, str(step.args["cmd"]).split())
        if verb in ("online", "offline"):
            return [block_request(step, rest.split())]
        if verb == "wr":
            return [lambda kernel: self._write(kernel, rest)]
        if verb == "insmod":
            return self._insmod(step, rest)
        if verb == "note:pinned":
            pfn = int(step.args["pfn"])
            return [PinPages(PfnRange(pfn, pfn + 1)).steps]
        if verb.startswith("qmp:"):
            return self._qmp(step, verb)
        if verb == "sh":
            return self._shell(str(step.args["cmd"]), step)
        raise UserError(f"step {step.op!r} has no translation")

    def _insmod(self, step: Step, path: str) -> list[Request]:
        if self.built_in:
            return [refuse(errno.ENOENT)]
        if "virtio_mem" in path:
            return list(self._probe_virtio_mem(step))
        return self.pmem.bind_raw() if "nd_pmem" in path else []

    def _qmp(self, step: Step, verb: str) -> list[Request]:
        """What is asked of the emulator."""
        if verb == "qmp:device_add":
            return self._device_add(step)
        if verb == "qmp:device_del":
            return self._device_del(step)
        if verb == "qmp:qom-set":
            return [self._request_virtio_mem(step)]
        if verb == "qmp:object-del":
            return []
        raise UserError(f"step {step.op!r} has no translation")

    # The test module

    def _module(self, step: Step, words: list[str]) -> list[Request]:
        verb, *args = words
        if verb == "add":
            flags = int(args[3])
            return [AddMemory(int(args[0]), pages(args[1], args[2]), flags).steps]
        if verb == "rm":
            return [RemoveMemory(pages(args[0], args[1])).steps]
        if verb == "mmap":
            return [map_device(module_map(args))]
        if verb == "munmap":
            return [MemunmapPages(int(args[0])).steps]
        if verb in ("resv", "unresv"):
            region = RequestMemRegion if verb == "resv" else ReleaseMemRegion
            return [region(pages(args[1], args[2])).steps]
        if verb in ("pin", "unpin"):
            # Pinning allocates the very pages: that they are in use nobody records.
            if step.errno == errno.EBUSY:
                return [refuse(errno.EBUSY)]
            pfns = PfnRange(int(args[0]), int(args[0]) + int(args[1]))
            if verb == "pin":
                return [PinPages(pfns).steps]
            # The module holds nothing after a pin that failed, and then has nothing to do.
            return [swallow(UnpinPages(pfns).steps)]
        if verb == "veto":
            return [VetoMemoryNotifier(args[0] != "0", args[1] != "0").steps]
        raise UserError(f"module command {verb!r} has no translation")

    # Random sequences

    def _fuzz(self, step: Step, op: list[object]) -> Iterator[Request]:
        if step.errno == "skip":
            return
        verb, *args = op
        if verb in ("online", "offline"):
            yield block_request(step, [str(arg) for arg in args])
            return
        if verb == "munmap":
            yield unmap_region(number(args[0]))
            return
        if verb not in ("add", "rm", "mmap"):
            raise UserError(f"random operation {verb!r} has no translation")
        first = 1 if verb == "mmap" else 0
        start, size = number(args[first]) * MIB_PAGES, number(args[first + 1]) * MIB_PAGES
        pfns = PfnRange(start, start + size)
        if verb == "add":
            yield AddMemory(0, pfns, number(args[2])).steps
        elif verb == "rm":
            yield RemoveMemory(pfns).steps
        else:
            reserve, free = number(args[4]), number(args[5])
            altmap = (reserve, free) if reserve or free else ()
            kind = TYPES[str(args[3])]
            yield map_region(MemremapPages(number(args[0]), (pfns,), kind, 0, altmap))

    # sysfs

    def _write(self, kernel: Kernel, rest: str) -> Steps:
        path, _, word = rest.partition(" ")
        block = re.fullmatch(r"/sys/devices/system/memory/memory(\d+)/state", path)
        if block is None or int(block[1]) not in kernel.blocks:
            # CONFIG_ARCH_MEMORY_PROBE is off: there is no probe file either.
            raise KernelRefusal(errno.ENOENT)
        if word not in {each.label for each in OnlineType}:
            raise KernelRefusal(errno.EINVAL)
        yield from ()

    # ACPI

    def _device_add(self, step: Step) -> list[Request]:
        """acpi_memory_enable_device(): add what the DIMM has, self-hosted if possible."""
        if step.refused_by_emulator:
            return []
        misfit = re.search(r"start (0x[0-9a-f]+), size (0x[0-9a-f]+)", step.note)
        if misfit:
            pfns = pages(misfit[1], misfit[2])
            return [AddMemory(0, pfns, MHP_MEMMAP_ON_MEMORY).steps]
        ram = [pfns for name, pfns in iomem(step.state["iomem"]) if name == SYSTEM_RAM]
        return [lambda kernel: self._add_dimm(kernel, str(step.args["id"]), ram)]

    def _add_dimm(self, kernel: Kernel, dimm: str, ram: list[PfnRange]) -> Steps:
        new = [pfns for pfns in ram if not kernel.iomem.system_ram(pfns)]
        for pfns in new:
            self.dimms[dimm] = pfns
            whole = pfns.nr_pages == kernel.pages_per_block
            later = kernel.rules.memmap_on_memory == "per_block"
            # Until 6.8 ACPI asked beforehand whether the kernel supports it.
            asks = later or (whole and kernel.layout.memmap_on_memory)
            flags = MHP_MEMMAP_ON_MEMORY if asks else 0
            yield from AddMemory(0, pfns, flags).steps(kernel)

    def _device_del(self, step: Step) -> list[Request]:
        """acpi_scan_hot_remove(): offline everything in two passes, eject or roll back."""
        pfns = self.dimms.pop(str(step.args["id"]), None)
        if pfns is None:
            return []
        offlined = {
            first
            for action, first, _ in step.state["notifier_events"]
            if action == NotifierAction.MEM_OFFLINE
        }
        return [lambda kernel: self._eject(kernel, str(step.args["id"]), pfns, offlined)]

    def _eject(self, kernel: Kernel, dimm: str, pfns: PfnRange, offlined: set[int]) -> Steps:
        put_online: list[int] = []
        failed = False
        for second_pass in (False, True):
            failed = False
            for block_id in kernel.blocks_in(pfns):
                if kernel.blocks[block_id].state == BlockState.MEM_OFFLINE:
                    continue
                block = kernel.block_pfns(block_id)
                unmovable = not any(first in block for first in offlined)
                try:
                    yield from base_memory.device_offline(kernel, block_id, unmovable)
                    put_online.append(block_id)
                except KernelRefusal:
                    failed = True
                    if second_pass:
                        break
            if not failed:
                break
        if not failed:
            yield from RemoveMemory(pfns).steps(kernel)
            return
        self.dimms[dimm] = pfns
        for block_id in put_online:
            yield from base_memory.device_online(kernel, block_id)

    # virtio-mem

    def _probe_virtio_mem(self, step: Step) -> Iterator[Request]:
        """The region is what the machine has; the driver claims all of it."""
        for name, pfns in iomem(step.state.get("iomem", ())):
            if VIRTIO.fullmatch(name):
                yield VirtioMemProbe(pfns, 0, self.device_block_pages, False).steps

    def _request_virtio_mem(self, step: Step) -> Request:
        if step.args.get("property") != "requested-size":
            raise UserError(f"property {str(step.args.get('property'))[:40]!r} has no translation")
        return VirtioMemRequest(number(step.args["value"]) >> 12).steps

    # Shell commands

    def _shell(self, command: str, step: Step) -> list[Request]:
        offline = re.search(r"echo offline > /sys/devices/system/memory/memory(\d+)/state", command)
        if offline:
            # `timeout -s INT`: the signal that offlining waits for.
            return [swallow(OfflineMemoryBlock(int(offline[1]), False).steps)]
        done = self.pmem.command(command)
        if done is not None:
            return done
        if command.startswith("dmesg"):
            return []
        raise UserError(f"shell command {command[:50]!r} has no translation")


def module_map(args: list[str]) -> MemremapPages:
    """``mmap`` of the test module; what follows the altmap ends with VMEMMAP_SHIFT."""
    reserve, free, *rest = map(int, args[5:])
    shift = rest[-1] if rest else 0
    altmap = (reserve, free) if reserve or free else ()
    region = pages(args[1], args[2])
    return MemremapPages(int(args[0]), (region,), TYPES[args[3]], 0, altmap, shift)


def refuse(err: int) -> Request:
    """A request that is refused without effect."""

    def steps(kernel: Kernel) -> Steps:
        yield from ()
        raise KernelRefusal(err)

    return steps


def block_request(step: Step, words: list[str]) -> Request:
    """``online N TYPE`` or ``offline N``; -EBUSY is the kernel's word for unmovable."""
    if len(words) == 2:
        return OnlineMemoryBlock(int(words[0]), words[1]).steps
    return OfflineMemoryBlock(int(words[0]), step.errno == errno.EBUSY).steps


def map_region(op: MemremapPages) -> Request:
    """request_mem_region(), then memremap_pages(), undone if that fails."""

    def steps(kernel: Kernel) -> Steps:
        region = op.ranges[0]
        try:
            yield from RequestMemRegion(region).steps(kernel)
        except KernelRefusal:
            raise RegionRefused from None
        try:
            yield from op.steps(kernel)
        except KernelRefusal:
            kernel.iomem.release(region)
            raise

    return steps


class RegionRefused(KernelRefusal):
    """request_mem_region() returned NULL; recorded as errno -1."""

    def __init__(self) -> None:
        super().__init__(errno.EBUSY)


def unmap_region(pgmap_id: int) -> Request:
    """memunmap_pages(), then release_mem_region()."""

    def steps(kernel: Kernel) -> Steps:
        pgmap = kernel.pgmaps.get(pgmap_id)
        yield from MemunmapPages(pgmap_id).steps(kernel)
        if pgmap is not None:
            kernel.iomem.release(pgmap.ranges[0])

    return steps


def number(value: object) -> int:
    """*value*, which a recording has as an integer."""
    if not isinstance(value, int):
        raise UserError(f"expected a number, found {value!r}"[:80])
    return value


def pages(start: str, size: str) -> PfnRange:
    """Hexadecimal byte address and size, as pfns."""
    first = int(start, 16) >> 12
    return PfnRange(first, first + (int(size, 16) >> 12))


__all__ = ["Op", "RegionRefused", "Translator"]
