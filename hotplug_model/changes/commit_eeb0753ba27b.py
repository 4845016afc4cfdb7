"""Commit eeb0753ba27b ("arm64/mm: Fix pfn_valid() for ZONE_DEVICE based memory") (in v5.12)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "eeb0753ba27b",
    "arm64/mm: Fix pfn_valid() for ZONE_DEVICE based memory",
    since=(5, 12),
    breaks=(
        "requests_that_are_granted_are_carried_out",
        "users_decide_as_rightly_as_they_did",
    ),
    geometry="tiny_arm64",
)
def only_memblock_is_valid(rules: KernelRules) -> KernelRules:
    """On arm64 pfn_valid() asks memblock, which knows no memory of a device."""
    return replace(rules, arm64_pfn_valid_asks_memblock=True)
