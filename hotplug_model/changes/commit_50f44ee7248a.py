"""Commit 50f44ee7248a ("mm/devm_memremap_pages: fix final page put race") (in v5.2)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "50f44ee7248a",
    "mm/devm_memremap_pages: fix final page put race",
    since=(5, 2),
    breaks=("walkers_use_no_poisoned_page",),
    races=("memory_failure_dev_pagemap", "memunmap_pages"),
)
def unplug_at_once(rules: KernelRules) -> KernelRules:
    """Device pages are unplugged before the last reference on their map is dropped."""
    return replace(rules, memunmap_waits_for_references=False)
