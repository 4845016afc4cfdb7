"""Commit bca3feaa0764 ("mm/memory_hotplug: prevalidate the address range being added with platform") (in v5.12)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "bca3feaa0764",
    "mm/memory_hotplug: prevalidate the address range being added with platform",
    since=(5, 12),
)
def claim_first(rules: KernelRules) -> KernelRules:
    """add_memory() claims the resource before it looks at the range."""
    return replace(rules, mhp_range_allowed_first=False)
