"""Commit b7e282378773 ("mm/mm_init: move p2pdma page refcount initialisation to p2pdma") (in v6.15)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "b7e282378773",
    "mm/mm_init: move p2pdma page refcount initialisation to p2pdma",
    since=(6, 15),
)
def idle_p2pdma_pages_count(rules: KernelRules) -> KernelRules:
    """A page of peer-to-peer memory of PCI that is free has a count of 1."""
    return replace(rules, idle_p2pdma_ref=1)
