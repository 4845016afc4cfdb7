"""Mutants that may survive: why what they do otherwise is right, too."""

from __future__ import annotations

from hotplug_model.mutants.source import Mutant

POISON = (
    "Poison is for debugging: without it a struct page still says whose it was, and walkers are"
    " judged by that."
)
NOTHING_YET = (
    "A struct page that nobody has initialised says nothing, whatever it holds: its reader is"
    " judged for reading it."
)
FALLS_BACK = (
    "Where no huge page can be had either base pages do or the add is refused; each architecture"
    " decides for itself, and nothing is lost."
)
HARMLESS: dict[tuple[str, str], str] = {
    ("mm/arm64_mmu.py", "flipped: if altmap is not None: -> if altmap is None:"): FALLS_BACK,
    ("mm/x86_init_64.py", "flipped: if altmap is not None: -> if altmap is None:"): FALLS_BACK,
    ("mm/x86_init_64.py", "flipped: if pages.nr_pages < kernel.geometry.memmap_of("): (
        "Base pages or huge ones are a matter of cost: what is mapped is accounted for alike."
    ),
    ("mm/page_alloc.py", "flipped: if kernel.layout.page_poisoning:"): POISON,
    ("mm/sparse.py", "left-out: page_init_poison(kernel, pfns)"): POISON,
    ("mm/zones.py", "flipped: if kernel.rules.page_init_poison_at_removal:"): POISON,
    ("mm/zones.py", "left-out: page_init_poison(kernel, pfns)"): POISON,
    ("mm/sparse_vmemmap.py", "column: kernel.pfns.write(pfns, memmap=origin, "): NOTHING_YET,
    ("mm/virtio_mem_sbm.py", "left-out: wanted -= (yield from unplug_sb_online(kernel, block, 0"): (
        "Sub-blocks that are not unplugged at once are unplugged one by one."
    ),
    ("mm/virtio_mem.py", "flipped: if vm.in_sbm and vm.states.get(block) not in MAY_GO_ONLINE"): (
        "A big block that is added has the number of a memory block that is offline, and no other"
        " can go online."
    ),
    ("state/dev_pagemap.py", "flipped: if self.type == MemoryType.MEMORY_DEVICE_FS_DAX:"): (
        "It says what counts are judged by, too."
    ),
    ("mm/xen_balloon.py", "flipped: ours = kernel.layout.hypervisor == 'xen' or "): (
        "It says what an operation may ask for; a kernel that is asked for less is not wrong."
    ),
    ("mm/xen_balloon.py", "left-out: kernel.pfns.set_bits(pfns, 'page_flags', PageFlag.PG_off"): (
        "What hotplug adds is marked PageOffline already; the other mark is the model's own note."
    ),
}
"""A file, and how the kind and the text of a mutant begin; and the reason."""


def why_harmless(mutant: Mutant) -> str:
    """Why *mutant* may survive; empty if nothing is known to excuse it."""
    for (file, text), reason in HARMLESS.items():
        if mutant.file == file and mutant.said.startswith(text):
            return reason
    return ""
