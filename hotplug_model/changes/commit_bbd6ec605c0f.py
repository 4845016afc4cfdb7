"""Commit bbd6ec605c0f ("arm64/mm: Enable memory hot remove") (in v5.7)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "bbd6ec605c0f",
    "arm64/mm: Enable memory hot remove",
    since=(5, 7),
    breaks=(
        "the_linear_map_ends_with_its_memory",
        "unused_vmemmap_is_freed",
    ),
    geometry="tiny_arm64",
    faults=True,
)
def never_removed(rules: KernelRules) -> KernelRules:
    """arm64 has neither hot-remove nor ZONE_DEVICE; what fails to be added stays mapped.

    So does its memmap: vmemmap_free() does nothing.
    """
    return replace(
        rules, arm64_memory_hotplug="add", arm64_frees_vmemmap=False,
        arm64_unmaps_linear_map=False,
    )  # fmt: skip
