"""Flags for arch_add_memory() and arch_remove_memory(), as posted and as they may go wrong.

The patch turns ``bool for_device`` into ``int flags``: MEMORY_DEVICE, MEMORY_MOVABLE,
MEMORY_UNADDRESSABLE. Each caller passes them, to the add and again to the removal, and
nobody keeps them in between. MEMORY_MOVABLE nobody reads: the review asks to classify no
memory as not movable.

Source: "[HMM v13 01/18] mm/memory/hotplug: convert device parameter bool to set of
flags", linux-mm, November 2016.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import proposing
from hotplug_model.flags import MemoryClass
from hotplug_model.rules import KernelRules

ADDRESSABLE, UNADDRESSABLE = MemoryClass.ADDRESSABLE, MemoryClass.UNADDRESSABLE
MOVABLE = MemoryClass.MOVABLE


def as_device(memory: MemoryClass) -> MemoryClass:
    """MEMORY_DEVICE, whatever kind of device memory it is."""
    return ADDRESSABLE if memory in (UNADDRESSABLE, MOVABLE) else memory


def as_immovable(memory: MemoryClass) -> MemoryClass:
    """Without MEMORY_MOVABLE."""
    return ADDRESSABLE if memory == MOVABLE else memory


def as_unaddressable(memory: MemoryClass) -> MemoryClass:
    """MEMORY_DEVICE | MEMORY_UNADDRESSABLE, whatever kind of device memory it is."""
    return UNADDRESSABLE if memory in (ADDRESSABLE, MOVABLE) else memory


def ram_as_unaddressable(memory: MemoryClass) -> MemoryClass:
    """MEMORY_UNADDRESSABLE for what is no device."""
    return UNADDRESSABLE if memory == MemoryClass.SYSTEM_RAM else memory


@proposing(
    "seed003",
    "flags instead of for_device, as posted: every device is MEMORY_DEVICE",
    breaks=("unaddressable_memory_is_not_mapped",),
)
def posted(rules: KernelRules) -> KernelRules:
    """Private memory comes and goes as MEMORY_DEVICE, and is mapped."""
    return replace(
        rules, device_private=True, memory_added_as=as_device, memory_removed_as=as_device
    )


@proposing(
    "seed003-unaddressable",
    "as posted, with a driver that asks for MEMORY_UNADDRESSABLE",
)
def refused(rules: KernelRules) -> KernelRules:
    """Private memory is refused with -EINVAL: every architecture does.

    # Simplified: what was posted says BUG() before it returns.
    """
    return replace(rules, takes_unaddressable_memory=False)


@proposing(
    "seed003-removal-as-posted",
    "private memory is added as MEMORY_UNADDRESSABLE, released as posted",
    breaks=("memory_is_removed_as_what_it_was_added",),
)
def removed_as_device(rules: KernelRules) -> KernelRules:
    """Private memory is added with MEMORY_UNADDRESSABLE and removed without."""
    return replace(rules, memory_removed_as=as_device)


@proposing(
    "seed003-movable-forgotten",
    "memory that can be moved is added as MEMORY_MOVABLE, released without",
    breaks=("memory_is_removed_as_what_it_was_added",),
)
def removed_as_immovable(rules: KernelRules) -> KernelRules:
    """Device memory is added with MEMORY_MOVABLE and removed without: nothing follows."""
    return replace(rules, memory_removed_as=as_immovable)


@proposing(
    "seed003-removal-of-another",
    "pmem is released with the flags of private memory",
    breaks=(
        "memory_is_removed_as_what_it_was_added",
        "the_linear_map_ends_with_its_memory",
    ),
)
def removed_as_unaddressable(rules: KernelRules) -> KernelRules:
    """Device memory is added without MEMORY_UNADDRESSABLE and removed with it."""
    return replace(rules, memory_removed_as=as_unaddressable)


@proposing(
    "seed003-flags-on-ram",
    "System RAM is added with the flags of device memory",
    breaks=("addressable_memory_is_mapped",),
)
def ram_with_flags(rules: KernelRules) -> KernelRules:
    """add_memory() passes MEMORY_UNADDRESSABLE on: RAM without a linear mapping."""
    return replace(
        rules, memory_added_as=ram_as_unaddressable, memory_removed_as=ram_as_unaddressable
    )
