"""Commit df6ad69838fc ("mm/device-public-memory: device memory cache coherent with CPU") (in v4.14)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "df6ad69838fc",
    "mm/device-public-memory: device memory cache coherent with CPU",
    since=(4, 14),
    needs=("25b2995a35b6",),
)
def no_public_memory(rules: KernelRules) -> KernelRules:
    """What 25b2995a35b6 took away is not there yet."""
    return replace(rules, device_public=False)
