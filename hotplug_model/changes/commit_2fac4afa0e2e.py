"""Commit 2fac4afa0e2e ("mm/memory_hotplug: fix incorrect altmap passing in error path") (in v7.2)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "2fac4afa0e2e",
    "mm/memory_hotplug: fix incorrect altmap passing in error path",
    since=(7, 2),
    breaks=(
        "altmaps_account_for_what_they_gave",
        "memmap_goes_back_to_its_owner",
    ),
    faults=True,
)
def rolled_back_without_altmap(rules: KernelRules) -> KernelRules:
    """If a block cannot be registered, its sections are removed without their altmap."""
    return replace(rules, rollback_passes_altmap=False)
