"""Hibernation's test of PageOffline(); neither its id nor its release could be confirmed.

It was posted together with commit 77c4adf6a6df ("xen/balloon: mark inflated pages
PG_offline") (in v5.1), and is taken to be as old.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "hibernate-page-offline",
    "PM / Hibernate: exclude all PageOffline() pages",
    since=(5, 1),
    breaks=("unplugged_memory_is_not_read",),
)
def saves_offline_pages(rules: KernelRules) -> KernelRules:
    """A hibernation image holds what is ballooned or not plugged, too."""
    return replace(rules, saveable_page_asks_page_offline=False)
