"""Commit a78986aae9b2 ("KVM: MMU: Do not treat ZONE_DEVICE pages as being reserved") (in v5.4)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "a78986aae9b2",
    "KVM: MMU: Do not treat ZONE_DEVICE pages as being reserved",
    since=(5, 4),
    breaks=("pages_count_the_references_on_them",),
    needs=("kvm-keeps-the-page", "8e1c69149f27"),
)
def count_no_device_page(rules: KernelRules) -> KernelRules:
    """KVM never drops the reference that it got on a page of ZONE_DEVICE."""
    return replace(rules, kvm_is_reserved_pfn="reserved")
