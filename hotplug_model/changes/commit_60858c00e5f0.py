"""Commit 60858c00e5f0 ("device-dax: don't leak kernel memory to user space after unloading
kmem") (in v5.7).

The release is inferred from dates: it was posted in May 2020.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "60858c00e5f0",
    "device-dax: don't leak kernel memory to user space after unloading kmem",
    since=(5, 7),
    breaks=("regions_keep_their_names",),
)
def name_it_by_the_device(rules: KernelRules) -> KernelRules:
    """The region of a dax device has the device's name, which goes with the device."""
    return replace(rules, dax_kmem_copies_its_name=False)
