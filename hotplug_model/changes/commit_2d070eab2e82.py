"""Commit 2d070eab2e82 ("mm: consider zone which is not fully populated to have holes") (in v4.13)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules

OF_ZONES = frozenset({
    "__pageblock_pfn_to_page", "__reset_isolation_pfn", "pagetypeinfo_showblockcount_print",
})  # fmt: skip
"""The functions that the commit changed; __reset_isolation_suitable() was the second's name."""


@undoing(
    "2d070eab2e82",
    "mm: consider zone which is not fully populated to have holes",
    since=(4, 13),
    breaks=("walkers_read_no_poisoned_page",),
)
def trust_pfn_valid(rules: KernelRules) -> KernelRules:
    """Walkers of pageblocks take any valid pfn, whether or not its section is online."""
    return replace(rules, asks_pfn_valid=rules.asks_pfn_valid | OF_ZONES)
