"""virt/kvm/kvm_main.c: references and dirty bits of what a guest is made of."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.page_state import Decision
from hotplug_model.users.user import (
    ASKS_ONLINE,
    DEV_MEM,
    MAPPED_BY_ANYBODY,
    Form,
    is_zone_device_page,
    user,
    valid_and_unreserved,
)

FILE = "virt/kvm/kvm_main.c"


def unreserved_or_device(x: Extents) -> ExtentMask:
    """Not reserved, or ZONE_DEVICE, which KVM counts though it was reserved."""
    return valid_and_unreserved(x) | (x.pfn_valid & is_zone_device_page(x))


def dirty_unless_device(x: Extents) -> ExtentMask:
    """Not reserved, and not ZONE_DEVICE either."""
    return valid_and_unreserved(x) & ~is_zone_device_page(x)


@user(
    FILE, name="kvm_is_reserved_pfn", decides=Decision.REFCOUNTED, reach=MAPPED_BY_ANYBODY,
    why=DEV_MEM, thread="patch 4", rule="kvm_is_reserved_pfn",
    forms={
        "online": ASKS_ONLINE,
        "not_device": Form(says=unreserved_or_device, reads=lambda x: x.pfn_valid),
        "ad_tracked": Form(says=unreserved_or_device, reads=lambda x: x.pfn_valid),
    },
)  # fmt: skip
def kvm_release_pfn_clean(x: Extents) -> ExtentMask:
    """Drops the reference on a page of the guest unless the pfn is invalid or reserved.

    Source: kvm_is_reserved_pfn(), kvm_pfn_to_refcounted_page() (6.1); commit a78986aae9b2
    ("KVM: MMU: Do not treat ZONE_DEVICE pages as being reserved") (in v5.4).
    """
    return valid_and_unreserved(x)


@user(
    FILE, name="kvm_is_reserved_pfn", decides=Decision.DIRTIED, reach=MAPPED_BY_ANYBODY,
    why=DEV_MEM, thread="patch 4", rule="kvm_is_reserved_pfn",
    forms={
        "online": ASKS_ONLINE,
        "not_device": Form(says=dirty_unless_device, reads=lambda x: x.pfn_valid),
        "ad_tracked": Form(says=valid_and_unreserved, reads=lambda x: x.pfn_valid),
    },
)  # fmt: skip
def kvm_set_pfn_dirty(x: Extents) -> ExtentMask:
    """Sets PG_dirty on a page that the guest wrote, unless the pfn is reserved.

    From 5.4 on ZONE_DEVICE is told apart; from 6.0 on only PG_reserved keeps it from that.

    Source: kvm_set_pfn_dirty(); commit a78986aae9b2 (in v5.4); kvm_is_ad_tracked_page(),
    commit 8e1c69149f27 ("KVM: Avoid pfn_to_page() and vice versa when releasing pages") (in
    v6.0).
    """
    return valid_and_unreserved(x)
