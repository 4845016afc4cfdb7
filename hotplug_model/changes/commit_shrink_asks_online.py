"""The commit "mm/memory_hotplug: don't access uninitialized memmaps in
shrink_zone_span()" (in v5.4). Its id could not be confirmed and is left out."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "shrink-asks-online",
    "mm/memory_hotplug: don't access uninitialized memmaps in shrink_zone_span()",
    since=(5, 4),
    breaks=("walkers_read_no_poisoned_page",),
)
def shrink_trusts_pfn_valid(rules: KernelRules) -> KernelRules:
    """The search for a zone's new edge looks at any valid struct page."""
    return replace(rules, shrink_asks_online=False)
