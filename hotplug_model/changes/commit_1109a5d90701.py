"""Commit 1109a5d90701 ("usercopy: Remove HARDENED_USERCOPY_PAGESPAN") (in v5.18)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing("1109a5d90701", "usercopy: Remove HARDENED_USERCOPY_PAGESPAN", since=(5, 18))
def check_the_span(rules: KernelRules) -> KernelRules:
    """User space may copy an object across pages only if all of them are reserved."""
    return replace(rules, check_page_span="reserved")
