"""Commit f504e15b94eb ("virtio-mem: remove unsafe unplug in Big Block Mode (BBM)") (in v6.5)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "f504e15b94eb",
    "virtio-mem: remove unsafe unplug in Big Block Mode (BBM)",
    since=(6, 5),
    breaks=("workers_wait_for_no_signal",),
    boots=("unsafe-unplug",),
)
def unplug_unsafely(rules: KernelRules) -> KernelRules:
    """virtio-mem offlines big blocks unseen where virtio_mem.bbm_safe_unplug=0 says so."""
    return replace(rules, virtio_mem_may_unplug_unsafely=True)
