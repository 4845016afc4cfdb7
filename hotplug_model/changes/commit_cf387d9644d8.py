"""Commit cf387d9644d8 ("libnvdimm/altmap: Track namespace boundaries in altmap") (in v5.4)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "cf387d9644d8",
    "libnvdimm/altmap: Track namespace boundaries in altmap",
    since=(5, 4),
    breaks=(
        "altmaps_back_their_own_device",
    ),
    geometry="tiny_powerpc",
)
def altmap_beyond_its_device(rules: KernelRules) -> KernelRules:
    """powerpc lets an altmap back a mapping that describes more than its device."""
    return replace(rules, powerpc_altmap_keeps_its_bounds=False)
