"""Commit a2b8d7827f48 ("drivers/base/memory: set mem->altmap after successful device
registration") (in v7.2).

The release is inferred from dates: it went to stable kernels between v7.1 and v7.2-rc1.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "a2b8d7827f48",
    "drivers/base/memory: set mem->altmap after successful device registration",
    since=(7, 2),
    breaks=("altmaps_account_for_what_they_gave",),
    boots=("memmap-on-memory",),
    faults=True,
)
def store_it_first(rules: KernelRules) -> KernelRules:
    """A memory block has its altmap before its device is registered, which may fail."""
    return replace(rules, block_altmap_stored="first")
