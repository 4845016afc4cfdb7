"""Commit 31e4ca92a7dd ("device-dax: fix memory and resource leak if hotplug fails") (in v5.3)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "31e4ca92a7dd",
    "device-dax: fix memory and resource leak if hotplug fails",
    since=(5, 3),
    breaks=("refusals_leave_the_machine_alone",),
    faults=True,
)
def keeps_the_region(rules: KernelRules) -> KernelRules:
    """What dax/kmem claimed of a device stays claimed though it could not be added."""
    return replace(rules, dax_kmem_releases_what_failed=False)
