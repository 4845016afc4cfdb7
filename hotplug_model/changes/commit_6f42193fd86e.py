"""Commit 6f42193fd86e ("memremap: don't use a separate devm action for devmap_managed_enable_get") (in v5.4)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "6f42193fd86e",
    "memremap: don't use a separate devm action for devmap_managed_enable_get",
    since=(5, 4),
    needs=("46b1ee38b2ba",),
)
def put_by_an_action_of_its_own(rules: KernelRules) -> KernelRules:
    """devmap_managed_key is decremented by an action that only maps which incremented it add."""
    return replace(rules, devmap_managed_put_as_got=True)
