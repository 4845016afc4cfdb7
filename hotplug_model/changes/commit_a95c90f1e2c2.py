"""Commit a95c90f1e2c2 ("mm, devm_memremap_pages: fix shutdown handling") (in v5.0)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "a95c90f1e2c2",
    "mm, devm_memremap_pages: fix shutdown handling",
    since=(5, 0),
    breaks=("populated_device_pages_are_initialised",),
    needs=("50f44ee7248a",),
)
def never_killed(rules: KernelRules) -> KernelRules:
    """Device pages are unplugged while their map still gives out references.

    # Simplified: killing it was the business of the driver, which did so in time, too
    late, or, if registering the action that does it had failed, never.
    """
    return replace(rules, memunmap_kills_reference=False)
