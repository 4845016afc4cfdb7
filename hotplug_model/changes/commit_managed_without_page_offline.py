"""The commit in v6.11 that lets offlining leave PageOffline pages out of managed_pages."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "managed-without-page-offline",
    "mm/memory_hotplug: skip adjust_managed_page_count() for PageOffline() pages when offlining",
    since=(6, 11),
)
def offline_takes_all(rules: KernelRules) -> KernelRules:
    """Who keeps pages PageOffline adds them to managed_pages before they go offline."""
    return replace(rules, offline_skips_page_offline=False)
