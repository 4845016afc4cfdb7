"""Commit f42ce5f087eb ("mm/memory_hotplug: fix error handling in add_memory_resource()") (in v6.7).

Commit 6b8f0798b85a lost it again in v6.8; commit 2fac4afa0e2e has it for good.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "f42ce5f087eb",
    "mm/memory_hotplug: fix error handling in add_memory_resource()",
    since=(6, 7),
    breaks=(
        "altmaps_account_for_what_they_gave",
        "memmap_goes_back_to_its_owner",
    ),
    faults=True,
    needs=("6b8f0798b85a", "2fac4afa0e2e",),
)
def rolled_back_without_altmap(rules: KernelRules) -> KernelRules:
    """If a block cannot be registered, its sections are removed without their altmap."""
    return replace(rules, rollback_passes_altmap=False)
