"""Commit 38607c62b34b ("fs/dax: properly refcount fs dax pages") (in v6.15)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "38607c62b34b",
    "fs/dax: properly refcount fs dax pages",
    since=(6, 15),
)
def idle_dax_pages_count(rules: KernelRules) -> KernelRules:
    """A page of fs-dax rests at a count of 1, whether or not anybody maps it."""
    return replace(rules, idle_fs_dax_ref=1)
