"""Commit b13bc35193d9 ("mm/hotplug: invalid PFNs from pfn_to_online_page()") (in v5.0)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "b13bc35193d9",
    "mm/hotplug: invalid PFNs from pfn_to_online_page()",
    since=(5, 0),
    breaks=("walkers_take_no_uninitialised_page",),
)
def ignore_holes_in_zone(rules: KernelRules) -> KernelRules:
    """pfn_to_online_page() does not ask the architecture whether the pfn is a hole."""
    return replace(rules, online_checks_arch_pfn_valid=False)
