"""Commit 25b2995a35b6 ("mm: remove MEMORY_DEVICE_PUBLIC support") (in v5.3)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "25b2995a35b6",
    "mm: remove MEMORY_DEVICE_PUBLIC support",
    since=(5, 3),
)
def public_memory(rules: KernelRules) -> KernelRules:
    """There is device memory that the CPU reaches coherently and that HMM migrates to."""
    return replace(rules, device_public=True)
