"""The removal of the kpc2000 driver; in which release could not be confirmed, 6.1 has none."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing("kpc2000-removed", "staging: kpc2000: removed, in v6.1 at the latest", since=(6, 1))
def kpc2000(rules: KernelRules) -> KernelRules:
    """There is a kpc2000 driver, which sets PG_dirty on pages that are not reserved."""
    return replace(rules, transfer_complete_cb="reserved")
