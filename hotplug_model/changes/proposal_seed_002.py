"""Roads not taken to deferred initialisation of ZONE_DEVICE: a constructor in the altmap, and
pages that are not reserved.

Source: "Re: [PATCH v5 4/4] mm: Defer ZONE_DEVICE page initialization to the point where we
init pgmap", linux-mm, October 2018.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import proposing
from hotplug_model.flags import PageFlag
from hotplug_model.rules import KernelRules


@proposing(
    "seed002-constructor",
    "the altmap brings a constructor that initialises device pages",
)
def constructor(rules: KernelRules) -> KernelRules:
    """One visit, under mem_hotplug_lock; who has no altmap gets what there was before."""
    return replace(rules, zone_device_init="constructor")


@proposing(
    "seed002-without-reserved",
    "device pages are initialised without PG_reserved",
    breaks=("users_decide_as_rightly_as_they_did",),
)
def without_reserved(rules: KernelRules) -> KernelRules:
    """The thread asks whether walkers need the bit: pfn_to_online_page() keeps them away."""
    return replace(rules, zone_device_flag=PageFlag(0))
