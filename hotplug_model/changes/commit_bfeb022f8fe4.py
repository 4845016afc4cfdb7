"""Commit bfeb022f8fe4 ("mm/memory_hotplug: add pgprot_t to mhp_params") (in v5.7)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "bfeb022f8fe4",
    "mm/memory_hotplug: add pgprot_t to mhp_params",
    since=(5, 7),
    geometry="tiny_s390",
)
def mapped_as_ram(rules: KernelRules) -> KernelRules:
    """Peer-to-peer memory of PCI is mapped as RAM is, which every architecture can."""
    return replace(rules, mhp_params_pgprot=False)
