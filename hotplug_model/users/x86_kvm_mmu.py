"""arch/x86/kvm/mmu.c: the memory type of what a guest maps; arch/x86/kvm/mmu/spte.c now."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.page_state import Decision
from hotplug_model.users.user import (
    DEV_MEM,
    MAPPED_BY_ANYBODY,
    YES,
    Form,
    among,
    user,
)
from hotplug_model.walkers.walker import page_reserved


def uncached(x: Extents) -> ExtentMask:
    """``!pat_enabled() || pat_pfn_immune_to_uc_mtrr(pfn)``: mapped UC, UC- or WC.

    # Simplified: PAT is enabled, and the host maps registers uncached and memory cached.
    """
    return among(x, YES[Decision.MMIO])


def reserved_or_no_ram(x: Extents) -> ExtentMask:
    """An online page is MMIO if it is reserved, whatever its memory type; any other valid
    pfn if it is mapped uncached; and where there is no memmap, what is no RAM.

    # Simplified: no zero page, which is reserved and excepted, before and after.

    Source: "[PATCH RFC v1 03/12] KVM: x86/mmu: Prepare kvm_is_mmio_pfn() for PG_reserved
    changes", linux-kernel, October 2019.
    """
    online = x.online_page
    return (online & page_reserved(x)) | (~online & (~x.pfn_valid | uncached(x)))


def reserved_and_uncached_or_no_ram(x: Extents) -> ExtentMask:
    """The same, but an online page that is reserved is MMIO only if it is mapped uncached.

    Inferred: nobody posted this; it keeps the question about the memory type that was asked
    of every valid pfn before.
    """
    return reserved_or_no_ram(x) & (~x.online_page | uncached(x))


@user(
    "arch/x86/kvm/mmu.c", decides=Decision.MMIO, reach=MAPPED_BY_ANYBODY, why=DEV_MEM,
    thread="patch 3", rule="kvm_is_mmio_pfn",
    forms={
        "online": Form(says=reserved_or_no_ram, reads=lambda x: x.online_page),
        "online_uncached": Form(
            says=reserved_and_uncached_or_no_ram, reads=lambda x: x.online_page
        ),
    },
)  # fmt: skip
def kvm_is_mmio_pfn(x: Extents) -> ExtentMask:
    """Maps a page uncached and unencrypted if it is reserved and the host does so, too.

    # Simplified: where there is no memmap there is no RAM; none is hidden by mem=.

    Source: kvm_is_mmio_pfn().
    """
    return ~x.pfn_valid | (page_reserved(x) & uncached(x))
