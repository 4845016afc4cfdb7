"""Commit 8e1c69149f27 ("KVM: Avoid pfn_to_page() and vice versa when releasing pages") (in v6.0)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "8e1c69149f27",
    "KVM: Avoid pfn_to_page() and vice versa when releasing pages",
    since=(6, 0),
    needs=("kvm-keeps-the-page",),
)
def no_device_page_is_dirty(rules: KernelRules) -> KernelRules:
    """KVM sets no page of ZONE_DEVICE dirty, whether that is reserved or not."""
    return replace(rules, kvm_is_reserved_pfn="not_device")
