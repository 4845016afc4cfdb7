"""Commit 4917f55b4ef9 ("mm/sparse-vmemmap: improve memory savings for compound devmaps") (in v5.19)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "4917f55b4ef9",
    "mm/sparse-vmemmap: improve memory savings for compound devmaps",
    since=(5, 19),
)
def no_vmemmap_dedup(rules: KernelRules) -> KernelRules:
    """Compound device pages have a memmap like any other pages."""
    return replace(rules, vmemmap_dedup=False)
