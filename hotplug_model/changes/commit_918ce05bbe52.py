"""Commit 918ce05bbe52 ("staging: gasket: remove it from the kernel") (in v5.13)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing("918ce05bbe52", "staging: gasket: remove it from the kernel", since=(5, 13))
def gasket(rules: KernelRules) -> KernelRules:
    """There is a gasket driver, which sets PG_dirty on pages that are not reserved."""
    return replace(rules, gasket_release_page="reserved")
