"""Commit 18c86506c80f ("s390x/mm: implement arch_remove_memory()") (in v5.3)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "18c86506c80f",
    "s390x/mm: implement arch_remove_memory()",
    since=(5, 3),
    geometry="tiny_s390",
)
def never_removed(rules: KernelRules) -> KernelRules:
    """s390's arch_remove_memory() is -EBUSY, and everything stays."""
    return replace(rules, s390_removes_memory=False)
