"""KVM's kvm_is_ad_tracked_page(); in which release it came could not be confirmed, 6.1 has it."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "kvm-ad-tracked-page",
    "KVM: kvm_is_ad_tracked_page(), in v6.1 at the latest",
    since=(6, 1),
    needs=("kvm-keeps-the-page",),
)
def no_device_page_is_dirty(rules: KernelRules) -> KernelRules:
    """KVM sets no page of ZONE_DEVICE dirty, whether that is reserved or not."""
    return replace(rules, kvm_is_reserved_pfn="not_device")
