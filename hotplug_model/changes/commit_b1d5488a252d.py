"""Commit b1d5488a252d ("mm: fix use-after free of page_ext after race with memory-offline") (in v6.1)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "b1d5488a252d",
    "mm: fix use-after free of page_ext after race with memory-offline",
    since=(6, 1),
    breaks=("nobody_reads_what_was_freed",),
    races=("pagetypeinfo_showmixedcount_print", "offline_memory_block"),
)
def free_page_ext_at_once(rules: KernelRules) -> KernelRules:
    """page_ext is freed while its users may be in the middle of it."""
    return replace(rules, page_ext_freed_by_rcu=False)
