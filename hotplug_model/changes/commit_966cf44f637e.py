"""Commit 966cf44f637e ("mm: defer ZONE_DEVICE page initialization to the point where we init pgmap") (in v4.20)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "966cf44f637e",
    "mm: defer ZONE_DEVICE page initialization to the point where we init pgmap",
    since=(4, 20),
)
def under_the_lock(rules: KernelRules) -> KernelRules:
    """Device pages are initialised under mem_hotplug_lock, then visited again for their map."""
    return replace(rules, zone_device_init="under_lock")
