"""mark_free_pages() of hibernation, to this day."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import hiding
from hotplug_model.rules import KernelRules


@hiding(
    "mark-free-pages-asks-pfn-valid",
    "mark_free_pages() asks pfn_valid(), and then page_zone()",
    breaks=("walkers_read_no_poisoned_page",),
    boots=("collision",),
)
def asks_poison_its_zone(rules: KernelRules) -> KernelRules:
    """Hibernation asks page_zone() of every valid pfn in the span of a zone, initialised or not.

    A memory block that is offline, with others of its zone on both sides, is poisoned, and
    page_to_nid() has a PF_POISONED_CHECK(): with CONFIG_DEBUG_VM_PGFLAGS that is a BUG().
    saveable_page() beside it asks pfn_to_online_page().

    Source: mark_free_pages(), kernel/power/snapshot.c; page_zone(), page_to_nid(),
    include/linux/mm.h (6.12).
    """
    return replace(rules, asks_pfn_valid=rules.asks_pfn_valid | {"mark_free_pages"})
