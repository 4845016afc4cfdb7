"""Commit af288a426c3e ("hwpoison, memory_hotplug: lock folio before unmap hwpoisoned
folio") (in v6.14)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "af288a426c3e",
    "hwpoison, memory_hotplug: lock folio before unmap hwpoisoned folio",
    since=(6, 14),
    breaks=("broken_pages_are_unmapped_locked",),
)
def unmap_unlocked(rules: KernelRules) -> KernelRules:
    """Offlining unmaps a broken page without taking its lock."""
    return replace(rules, offline_locks_what_it_unmaps=False)
