"""Commit b7812c86c740 ("mm: memory_hotplug: drop memoryless node from fallback lists") (in v6.7)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "b7812c86c740",
    "mm: memory_hotplug: drop memoryless node from fallback lists",
    since=(6, 7),
    breaks=("fallback_lists_name_nodes_with_memory",),
)
def build_zonelists_first(rules: KernelRules) -> KernelRules:
    """Zonelists are built anew while the node that lost its last memory still has N_MEMORY."""
    return replace(rules, memoryless_before_zonelists=False)
