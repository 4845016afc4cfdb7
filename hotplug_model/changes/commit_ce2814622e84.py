"""Commit ce2814622e84 ("virtio-mem: kdump mode to sanitize /proc/vmcore access") (in v5.16)."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "ce2814622e84",
    "virtio-mem: kdump mode to sanitize /proc/vmcore access",
    since=(5, 16),
    breaks=("unplugged_memory_is_not_dumped",),
)
def vmcore_reads_all(rules: KernelRules) -> KernelRules:
    """/proc/vmcore copies all memory that was System RAM when the kernel crashed."""
    return replace(rules, answers_vmcore=rules.answers_vmcore - {"virtio_mem"})
