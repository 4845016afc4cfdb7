""""mm/memory_hotplug: don't free usage map when removing a re-added early section" (in v5.5); the id could not be confirmed."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "usage-of-readded-section",
    "mm/memory_hotplug: don't free usage map when removing a re-added early section",
    since=(5, 5),
    breaks=(
        "usage_maps_of_boot_are_kept",
    ),
)
def usage_by_early_flag(rules: KernelRules) -> KernelRules:
    """Whether boot allocated a usage map is told by whether the section is early."""
    return replace(rules, boot_usage_kept=False)
