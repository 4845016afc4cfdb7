"""The road not taken to deferred initialisation of ZONE_DEVICE: a constructor in the altmap.

Source: "Re: [PATCH v5 4/4] mm: Defer ZONE_DEVICE page initialization to the point where we
init pgmap", linux-mm, October 2018.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import proposing
from hotplug_model.rules import KernelRules


@proposing(
    "seed002-constructor",
    "the altmap brings a constructor that initialises device pages",
)
def constructor(rules: KernelRules) -> KernelRules:
    """One visit, under mem_hotplug_lock; who has no altmap gets what there was before."""
    return replace(rules, zone_device_init="constructor")
