"""The commit that stopped marking offlined pages PG_reserved (in v5.5); its id could not be confirmed."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "offlining-reserves",
    "mm/page_alloc.c: don't set pages PageReserved() when offlining",
    since=(5, 5),
)
def offlining_reserves(rules: KernelRules) -> KernelRules:
    """Pages are PG_reserved once they are offline, as they were before they were online."""
    return replace(rules, offlining_reserves=True)
