"""unpoison_memory(), until commit d613f53c83ec (in v6.17)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import hiding
from hotplug_model.rules import KernelRules


@hiding(
    "unpoison-asks-pfn-valid",
    "unpoison_memory() asks pfn_valid(), until commit d613f53c83ec",
    until=(6, 17),
    breaks=("walkers_read_no_poisoned_page",),
    boots=("collision",),
)
def takes_back_any_valid_page(rules: KernelRules) -> KernelRules:
    """Whoever names a pfn that is no online page has its poisoned struct page read.

    With a block that was added and not put online, every release before shows it.

    Source: unpoison_memory(), mm/memory-failure.c (6.12).
    """
    return replace(rules, asks_pfn_valid=rules.asks_pfn_valid | {"unpoison_memory"})
