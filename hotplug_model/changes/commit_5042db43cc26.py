"""Commit 5042db43cc26 ("mm/ZONE_DEVICE: new type of ZONE_DEVICE for unaddressable memory") (in v4.14)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "5042db43cc26",
    "mm/ZONE_DEVICE: new type of ZONE_DEVICE for unaddressable memory",
    since=(4, 14),
)
def no_private_memory(rules: KernelRules) -> KernelRules:
    """There is no device memory that the CPU cannot reach."""
    return replace(rules, device_private=False)
