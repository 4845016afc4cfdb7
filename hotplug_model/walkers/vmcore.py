"""fs/proc/vmcore.c: /proc/vmcore, the memory of a kernel that has crashed.

It reads page frames, not struct pages: whether one is PageOffline only makedumpfile asks, in
user space. What it must not touch it is told by whoever knows, page by page.
"""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.state.virtio_mem import VirtioMem
from hotplug_model.walkers.proc_kcore import listed


def read_from_oldmem(x: Extents) -> ExtentMask:
    """Rows that are copied as a whole if the kernel crashes now: all that is System RAM.

    Of the memory of a virtio-mem device only what is plugged is, since the driver registers
    a callback in the kernel that dumps: none of its rows is copied unasked. Xen's callback
    asks the hypervisor, and leaves out what is ballooned. Hyper-V has no such callback.

    # Simplified: the guest of Xen is an HVM one; others ask nobody.

    Source: read_from_oldmem(), pfn_is_ram(), register_vmcore_cb() in fs/proc/vmcore.c;
    virtio_mem_vmcore_pfn_is_ram() in drivers/virtio/virtio_mem.c; commit ce2814622e84
    ("virtio-mem: kdump mode to sanitize /proc/vmcore access") (in v5.16);
    xen_vmcore_pfn_is_ram() in arch/x86/xen/mmu_hvm.c.
    """
    return listed(x) & ~answered(x)


def answered(x: Extents) -> ExtentMask:
    """Rows of which a driver says page by page whether they are RAM, or that they are none."""
    lender, answers = x.kernel.lender, x.kernel.rules.answers_vmcore
    if x.kernel.layout.hypervisor == "xen" and "xen" in answers:
        return x.in_balloon
    if isinstance(lender, VirtioMem) and "virtio_mem" in answers:
        return x.touched([lender.region])
    return x.touched([])
