"""Users that keep a page for long: how they take it, and by whose decision they give it back."""

from __future__ import annotations

from dataclasses import dataclass

from hotplug_model.extents import Extents
from hotplug_model.flags import WITHOUT_REFERENCE, PageUser
from hotplug_model.page_state import Decision, PageState
from hotplug_model.rules import KernelRules
from hotplug_model.users.user import BEFORE, GUP, USERS
from hotplug_model.users.vfio_iommu_type1 import PINNED

HELD = GUP - {PageState.COHERENT}
"""What who is given pages holds of them.

# Simplified: nobody holds a device-coherent page, since with that memunmap_pages() waits.

Source: zone_device_page_init(), free_zone_device_folio() in mm/memremap.c (6.12); commit
0dc45ca1ce18 ("mm/memremap.c: take a pgmap reference on page allocation").
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinner:
    """A user that takes a reference on a page, or just its pfn, and drops it later."""

    bit: PageUser
    asks: str
    """The user of PageReserved() that decides."""
    pins: frozenset[PageState]
    """What get_user_pages() gives it."""
    longterm: bool = False
    """Whether it pins with FOLL_LONGTERM, which fs-dax refuses."""
    counts: bool = True
    """Whether it asks, too, whether there is a reference to drop; else it always drops one."""
    follows: bool = True
    """Whether it takes the pfn of what has no page, as follow_pfn() finds it."""
    refers: bool = False
    """Whether it takes a reference there if it would drop one; else it refuses the page."""
    mended: str = ""
    """The form of kernels in which it kept pages of devices until a commit ended that. In any
    other form who keeps them does so to this day."""

    @property
    def pfn_bit(self) -> PageUser:
        """Its mark on a page that it has no reference on."""
        return PageUser(self.bit << WITHOUT_REFERENCE)

    def exists(self, rules: KernelRules) -> bool:
        """Whether a kernel has it."""
        return USERS[f"{self.asks}/{Decision.DIRTIED.value}"].form(rules) is not None

    def keeps_to_this_day(self, rules: KernelRules) -> bool:
        """Whether mainline, or a proposal, keeps pages of devices as this kernel does."""
        return USERS[f"{self.asks}/{Decision.DIRTIED.value}"].selected(rules) != self.mended

    def drops(self, x: Extents, row: int) -> bool:
        """Whether it would drop a reference on a page now."""
        return not self.counts or self._decides(x, row, Decision.REFCOUNTED)

    def dirties(self, x: Extents, row: int) -> bool:
        """Whether it would set PG_dirty on a page that it has written."""
        return self._decides(x, row, Decision.DIRTIED)

    def _decides(self, x: Extents, row: int, decision: Decision) -> bool:
        form = USERS[f"{self.asks}/{decision.value}"].form(x.kernel.rules)
        return form is not None and bool(form.says(x)[row])


PINNERS = {
    "vfio": Pinner(
        bit=PageUser.VFIO, asks="is_invalid_reserved_pfn", pins=PINNED, longterm=True,
    ),
    "kvm": Pinner(
        bit=PageUser.KVM, asks="kvm_is_reserved_pfn", pins=HELD, refers=True, mended=BEFORE,
    ),
    "gasket": Pinner(
        bit=PageUser.GASKET, asks="gasket_release_page", pins=HELD, counts=False, follows=False,
    ),
}  # fmt: skip
"""By the name that a trace has for it.

Source: vaddr_get_pfns(), put_pfn() in drivers/vfio/vfio_iommu_type1.c; hva_to_pfn(),
kvm_vcpu_map(), kvm_vcpu_unmap() in virt/kvm/kvm_main.c (6.1); commit a78986aae9b2 ("KVM:
MMU: Do not treat ZONE_DEVICE pages as being reserved") (in v5.4); gasket_release_page() in
drivers/staging/gasket/gasket_page_table.c."""
