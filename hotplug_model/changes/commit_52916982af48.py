"""Commit 52916982af48 ("PCI/P2PDMA: Support peer-to-peer memory") (in v4.20)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "52916982af48",
    "PCI/P2PDMA: Support peer-to-peer memory",
    since=(4, 20),
)
def no_peer_to_peer_memory(rules: KernelRules) -> KernelRules:
    """There is no memory of PCI devices for the DMA of others."""
    return replace(rules, device_p2pdma=False)
