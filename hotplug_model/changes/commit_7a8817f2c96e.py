"""Commit 7a8817f2c96e ("mm: memory-failure: add PageOffline() check") (in v6.6)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing("7a8817f2c96e", "mm: memory-failure: add PageOffline() check", since=(6, 6))
def unmaps_offline_pages(rules: KernelRules) -> KernelRules:
    """A broken page that is PageOffline is taken from whoever maps it, as any other."""
    return replace(rules, hwpoison_user_mappings="reserved")
