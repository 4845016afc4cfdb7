"""Commit f25cbb7a95a2 ("mm: add zone device coherent type memory support") (in v6.0)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "f25cbb7a95a2",
    "mm: add zone device coherent type memory support",
    since=(6, 0),
)
def no_coherent_memory(rules: KernelRules) -> KernelRules:
    """There is no device memory that the CPU reaches coherently, but what HMM called public."""
    return replace(rules, device_coherent=False)
