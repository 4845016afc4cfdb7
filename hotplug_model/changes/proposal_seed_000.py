"""The series that wanted no hotplugged page marked PG_reserved.

Each of its patches changes what one user of PageReserved() asks, but for the first, which
is commit c5e79ef561b0, and the last, which drops the flag. Where a change here applies
the series, it gives each user that the series prepares the form that the series wants,
also one that is gone today; a patch that is left out leaves its user as it was in 2019.

Source: "[PATCH RFC v1 00/12] mm: Don't mark hotplugged pages PG_reserved (including
ZONE_DEVICE)", linux-kernel, October 2019, and the patches that follow it; v1 of two days
later, for what it kept of them: all but 6 and 7, and of 2 a comment. The diffs were read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hotplug_model.changes.change import Rewrite, proposing
from hotplug_model.flags import PageFlag
from hotplug_model.rules import KernelRules

DECIDES_WORSE = ("users_decide_as_rightly_as_they_did",)
UNFOILED = ("collision",)
"""A layout on which the whole series breaks nothing: boot reserved no RAM there."""
RESERVED, ONLINE, NOT_DEVICE = "reserved", "online", "not_device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A preparatory patch: the rule that it changes, to what, and from what."""

    number: int
    subject: str
    rule: str
    wanted: str | bool = ONLINE
    before: str | bool = RESERVED
    breaks: tuple[str, ...] = DECIDES_WORSE
    """What the series without it violates."""


PATCHES: dict[str, Patch] = {
    "holes": Patch(
        number=1, rule="offline_rejects_holes", wanted=True, before=False,
        breaks=("walkers_read_no_poisoned_page",),
        subject="mm/memory_hotplug: Don't allow to online/offline memory blocks with holes",
    ),
    "usercopy": Patch(
        number=2, rule="check_page_span", wanted=NOT_DEVICE,
        subject="mm/usercopy.c: Prepare check_page_span() for PG_reserved changes",
    ),
    "kvm-mmu": Patch(
        number=3, rule="kvm_is_mmio_pfn",
        subject="KVM: x86/mmu: Prepare kvm_is_mmio_pfn() for PG_reserved changes",
    ),
    "kvm": Patch(
        number=4, rule="kvm_is_reserved_pfn",
        subject="KVM: Prepare kvm_is_reserved_pfn() for PG_reserved changes",
    ),
    "vfio": Patch(
        number=5, rule="is_invalid_reserved_pfn",
        subject="vfio/type1: Prepare is_invalid_reserved_pfn() for PG_reserved changes",
    ),
    "gasket": Patch(
        number=6, rule="gasket_release_page", wanted=NOT_DEVICE,
        subject="staging/gasket: Prepare gasket_release_page() for PG_reserved changes",
    ),
    "kpc2000": Patch(
        number=7, rule="transfer_complete_cb", wanted=NOT_DEVICE,
        subject="staging: kpc2000: Prepare transfer_complete_cb() for PG_reserved changes",
    ),
    "book3s": Patch(
        number=8, rule="kvmppc_book3s_instantiate_page",
        subject="powerpc/book3s: Prepare kvmppc_book3s_instantiate_page() for PG_reserved changes",
    ),
    "hash": Patch(
        number=9, rule="hash_page_do_lazy_icache",
        subject="powerpc/64s: Prepare hash_page_do_lazy_icache() for PG_reserved changes",
    ),
    "pgtable": Patch(
        number=10, rule="maybe_pte_to_page",
        subject="powerpc/mm: Prepare maybe_pte_to_page() for PG_reserved changes",
    ),
    "ioremap": Patch(
        number=11, rule="ioremap_check_ram",
        subject="x86/mm: Prepare __ioremap_check_ram() for PG_reserved changes",
    ),
}  # fmt: skip
UNNOTICED: Mapping[str, str] = {
    "ioremap": "__ioremap_check_ram() is asked about System RAM only, and memremap_pages() "
    "refuses to share a pfn with System RAM: no page of ZONE_DEVICE comes to it. RAM that is "
    "offline is poisoned or stale with and without the flag, and nobody is harmed whether it "
    "may be mapped once more or not. The struct pages that it reads without having asked "
    "whether they are online it read before the series, too: nothing becomes wrong.",
}
"""Patches whose absence nothing can notice, and why."""
FAULTY = "kvm-mmu"
"""The patch that makes a decision wrong by itself: of RAM that boot reserved, and that Xen's
and Hyper-V's balloons keep. The last patch makes another wrong, of what Hyper-V's driver
leaves alone."""
NO_FLAG = PageFlag(0)
CALLBACKS = {"hv_balloon": "hv_page_online_one", "xen": "xen_online_page"}
"""Drivers that patch 12 lets mark what they keep back, which hotplug no longer does for
them, and the function that it changes in each."""


def forms(left_out: str = "") -> dict[str, Any]:
    """What the prepared users ask, one of them as it did before the series."""
    return {
        patch.rule: patch.before if name == left_out else patch.wanted
        for name, patch in PATCHES.items()
    }


def unmarked(rules: KernelRules) -> KernelRules:
    """Patch 12: no hotplugged page is marked PG_reserved, nor PageOffline, but for those that
    balloons keep back."""
    return replace(
        rules, hotplugged_ram_flag=NO_FLAG, zone_device_flag=NO_FLAG,
        reserves_withheld_pages=frozenset(CALLBACKS.values()),
    )  # fmt: skip


def without(left_out: str) -> Rewrite:
    """The series without one of its patches."""

    def rewrite(rules: KernelRules) -> KernelRules:
        return replace(unmarked(rules), **forms(left_out))

    rewrite.__doc__ = f"The whole series but for patch {PATCHES[left_out].number}."
    return rewrite


def alone(name: str) -> Rewrite:
    """One preparatory patch, with all flags as they were."""
    patch = PATCHES[name]

    def rewrite(rules: KernelRules) -> KernelRules:
        changed: dict[str, Any] = {patch.rule: patch.wanted}
        return replace(rules, **changed)

    rewrite.__doc__ = f"Patch {patch.number} and no other: {patch.rule} is {patch.wanted}."
    return rewrite


@proposing(
    "seed000", "mm: Don't mark hotplugged pages PG_reserved (including ZONE_DEVICE)",
    breaks=DECIDES_WORSE,
)  # fmt: skip
def series(rules: KernelRules) -> KernelRules:
    """The whole series: hotplugged pages are not marked, and no user asks whether they are."""
    return replace(unmarked(rules), **forms())


@proposing("seed000-corrected", "the series with patches 3 and 12 mended")
def corrected(rules: KernelRules) -> KernelRules:
    """KVM asks how the host maps a page, online or not; hv_online_page() marks what it leaves."""
    whole = series(rules)
    reserves = whole.reserves_withheld_pages | {"hv_online_page"}
    return replace(whole, kvm_is_mmio_pfn="online_uncached", reserves_withheld_pages=reserves)


@proposing(
    "seed000-before", "the kernel that the series was written for",
    breaks=("pages_count_the_references_on_them",),
)  # fmt: skip
def before(rules: KernelRules) -> KernelRules:
    """Every page that memory hotplug initialises is reserved, every user as it was in 2019."""
    reserved = PageFlag.PG_reserved
    return replace(flag_alone(rules), hotplugged_ram_flag=reserved, zone_device_flag=reserved)


@proposing(
    "seed000-flag",
    "mm/memory_hotplug: Don't mark pages PG_reserved when initializing the memmap",
    breaks=DECIDES_WORSE,
)
def flag_alone(rules: KernelRules) -> KernelRules:
    """Patch 12 and no other: the flag goes, and every user is as it was in 2019."""
    # Blocks with holes are left as the kernel has them: that is no user's decision.
    unprepared: dict[str, Any] = {
        patch.rule: patch.before for name, patch in PATCHES.items() if name != "holes"
    }
    return replace(unmarked(rules), **unprepared)


@proposing(
    "seed000-zone-device", "patch 12 for ZONE_DEVICE only, behind the other patches",
    breaks=DECIDES_WORSE,
)  # fmt: skip
def zone_device_only(rules: KernelRules) -> KernelRules:
    """Hotplugged System RAM is still marked until it is online; ZONE_DEVICE is not."""
    ram = PageFlag.PG_reserved
    return replace(series(rules), hotplugged_ram_flag=ram)


@proposing(
    "seed000-system-ram", "patch 12 for System RAM only, behind the other patches",
    breaks=DECIDES_WORSE,
)  # fmt: skip
def system_ram_only(rules: KernelRules) -> KernelRules:
    """ZONE_DEVICE is still marked; hotplugged System RAM never is."""
    return replace(series(rules), zone_device_flag=PageFlag.PG_reserved)


for _name, _patch in PATCHES.items():
    proposing(
        f"seed000-{_name}", _patch.subject, breaks=DECIDES_WORSE if _name == FAULTY else ()
    )(alone(_name))
    proposing(
        f"seed000-without-{_name}", f"the series without patch {_patch.number}",
        breaks=_patch.breaks, boots=() if _name in UNNOTICED else UNFOILED,
    )(without(_name))  # fmt: skip


def without_callback(driver: str) -> Rewrite:
    """The series, whose last patch forgets one of the balloons. The rest is mended, for as
    posted patch 3 takes what balloons keep for registers, as it does boot memory."""

    def rewrite(rules: KernelRules) -> KernelRules:
        whole = corrected(rules)
        reserves = whole.reserves_withheld_pages - {CALLBACKS[driver]}
        return replace(whole, reserves_withheld_pages=reserves)

    rewrite.__doc__ = (
        f"The series mended, but {CALLBACKS[driver]}() marks no page that it keeps."
    )
    return rewrite


for _driver, _boot in (("hv_balloon", "hyper-v"), ("xen", "xen")):
    proposing(
        f"seed000-without-{_driver}", f"the series, patch 12 without its part for {_driver}",
        breaks=DECIDES_WORSE, boots=(_boot,),
    )(without_callback(_driver))  # fmt: skip
