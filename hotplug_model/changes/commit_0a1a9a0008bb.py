"""Commit 0a1a9a0008bb ("mm/memory_hotplug: simplify page offlining") (in v5.10)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing("0a1a9a0008bb", "mm/memory_hotplug: simplify page offlining", since=(5, 10))
def offlining_walks(rules: KernelRules) -> KernelRules:
    """Of a block that goes offline what is System RAM is taken back and counted, no hole."""
    return replace(rules, offlining_walks_system_ram=True)
