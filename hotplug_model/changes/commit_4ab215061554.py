"""Commit 4ab215061554 ("arm64: Add memory hotplug support") (in v5.0)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "4ab215061554",
    "arm64: Add memory hotplug support",
    since=(5, 0),
    geometry="tiny_arm64",
    needs=("bbd6ec605c0f",),
)
def never_added(rules: KernelRules) -> KernelRules:
    """On arm64 memory is what there was at boot."""
    return replace(rules, arm64_memory_hotplug="absent")
