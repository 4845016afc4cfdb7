"""Commit 03a2cc1756a0 ("drivers/base/memory: fix memory block reference leak in poison
accounting") (in v7.1).

The release is inferred from dates: it went to stable kernels between v7.0 and v7.1.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "03a2cc1756a0",
    "drivers/base/memory: fix memory block reference leak in poison accounting",
    since=(7, 1),
    breaks=("memory_block_devices_are_let_go",),
)
def keep_the_device(rules: KernelRules) -> KernelRules:
    """Each page that breaks costs a reference on its memory block's device."""
    return replace(rules, memblk_nr_poison_puts_device=False)
