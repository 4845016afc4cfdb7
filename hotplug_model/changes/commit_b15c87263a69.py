"""Commit b15c87263a69 ("hwpoison, memory_hotplug: allow hwpoisoned pages to be offlined") (in v5.0)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "b15c87263a69",
    "hwpoison, memory_hotplug: allow hwpoisoned pages to be offlined",
    since=(5, 0),
    breaks=("offlining_waits_for_nobody_but_holders",),
)
def wait_for_what_broke(rules: KernelRules) -> KernelRules:
    """Offlining tries to migrate a broken page until a signal comes."""
    return replace(rules, offline_skips_broken_pages=False)
