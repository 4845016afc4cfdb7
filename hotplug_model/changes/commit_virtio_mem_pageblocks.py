"""The commit in v5.19 that made virtio-mem's sub-blocks as small as pageblocks."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "virtio-mem-pageblocks",
    "drivers: virtio_mem: use pageblock size as the minimum virtio_mem size.",
    since=(5, 19),
)
def max_order(rules: KernelRules) -> KernelRules:
    """virtio-mem's sub-blocks are the largest chunks of the buddy allocator."""
    return replace(rules, virtio_mem_sub_block_is_max_order=True)
