"""Commit ef233450898f ("mm: free device private pages have zero refcount") (in v6.1 at the latest)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "ef233450898f",
    "mm: free device private pages have zero refcount",
    since=(6, 1),
)
def free_private_pages_count(rules: KernelRules) -> KernelRules:
    """A page of device-private or coherent memory that is free has a count of 1."""
    return replace(rules, idle_device_private_ref=1)
