"""The commit that gave powerpc ZONE_DEVICE; its id could not be confirmed.

It is the last of a series whose first is commit 65f7d0497887 ("mm, x86: Add
ARCH_HAS_ZONE_DEVICE to Kconfig") (in v4.13).
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "powerpc-zone-device",
    "powerpc/mm: Enable ZONE_DEVICE on powerpc",
    since=(4, 13),
    geometry="tiny_powerpc",
)
def without_zone_device(rules: KernelRules) -> KernelRules:
    """On powerpc memremap_pages() is -ENXIO: it has no ZONE_DEVICE."""
    return replace(rules, powerpc_has_zone_device=False)
