"""Commit aac65321ba69 ("mm/memory_hotplug: simplify page onlining") (in v5.10)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing("aac65321ba69", "mm/memory_hotplug: simplify page onlining", since=(5, 10))
def onlining_walks(rules: KernelRules) -> KernelRules:
    """Of a block that goes online what is System RAM is handed over and counted, no hole."""
    return replace(rules, onlining_walks_system_ram=True)
