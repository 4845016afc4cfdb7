"""Commit 503b158fc30f ("mm/memory_hotplug: initialize memmap of !ZONE_DEVICE with PageOffline() instead of PageReserved()") (in v6.11)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.flags import PageFlag
from hotplug_model.rules import KernelRules


@undoing(
    "503b158fc30f",
    "mm/memory_hotplug: initialize memmap of !ZONE_DEVICE with PageOffline() instead of PageReserved()",
    since=(6, 11),
    breaks=("managed_pages_add_up",),
    boots=("hyper-v",),
)
def reserve_until_online(rules: KernelRules) -> KernelRules:
    """Hotplugged System RAM is PG_reserved until it is online; hv_balloon onlines what it had."""
    return replace(rules, hotplugged_ram_flag=PageFlag.PG_reserved, hv_onlines_once=False)
