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
POISONED = "What a struct page that is poison says besides is nobody's to read."
SOONER = "Device pages with an altmap are initialised under the lock: sooner, but not otherwise."
COUNTS = "It says what counts are judged by, too."
ASKED = "It says what an operation may ask for; a kernel that is asked for less is not wrong."
TWO_FORMS = "A state has two forms, of more runs and of fewer, and is judged twice."
ODD_SIZE = (
    "Where the memmap of a block fills no huge pages base pages map it; elsewhere the block is"
    " given an ordinary one."
)
FALLS_BACK = (
    "Where no huge page can be had either base pages do or the add is refused; each architecture"
    " decides for itself, and nothing is lost."
)
HARMLESS: dict[tuple[str, str, str], str] = {
    ("mm/arm64_mmu.py", "vmemmap_populate", "-> if altmap is None:"): FALLS_BACK,
    ("mm/x86_init_64.py", "vmemmap_populate_hugepages", "-> if altmap is None:"): FALLS_BACK,
    ("mm/x86_init_64.py", "vmemmap_populate", "-> if pages.nr_pages >= "): (
        "Base pages or huge ones are a matter of cost: what is mapped is accounted for alike."
    ),
    ("mm/page_alloc.py", "page_init_poison", "-> if not kernel.layout.page_poisoning:"): POISON,
    ("mm/page_alloc.py", "page_init_poison", "POISONED, zone=0, page_flags=0, refcount"): POISONED,
    ("mm/page_alloc.py", "page_init_poison", "POISONED, zone=0, nid=0, refcount=0"): POISONED,
    ("mm/page_alloc.py", "page_init_poison", "POISONED, nid=0, page_flags=0, refcou"): POISONED,
    ("mm/page_alloc.py", "page_init_poison", "nid=0, page_flags=0, page_pgmap=NO"): POISONED,
    ("mm/page_alloc.py", "initialised_under_lock", "left-out: first += altmap.reserve"): (
        "Struct pages that a driver keeps for itself are initialised, too: nobody minds."
    ),
    ("mm/memremap.py", "pageunmap_range", "left-out: yield from remove_pfn_range_fro"): POISON,
    ("mm/online.py", "offline_pages", "-> if not kernel.rules.offlining_reserves:"): (
        "Until v5.5 what went offline was reserved; nobody goes wrong by that."
    ),
    ("mm/online.py", "has_unmovable_pages", "left-out: held[:] = False"): (
        "A page that is held keeps its block online either way, and offlining gives up in both."
    ),
    ("mm/page_alloc.py", "runs_constructor", "'constructor' or pgmap.altmap is not None"): SOONER,
    ("mm/page_alloc.py", "runs_constructor", "!= 'constructor' and pgmap.altmap"): SOONER,
    ("mm/memremap.py", "memunmap_pages", "left-out: end_altmap("): (
        "It only judges: what an altmap has not got back is written down there and nowhere else."
    ),
    ("mm/memory_hotplug.py", "register_memory_resource", "RESOURCE, 1) or not empty"): (
        "There is memory for a region at all times: who cannot fail is not wrong."
    ),
    ("mm/hv_balloon.py", "hv_online_page", "'page_flags', PageFlag.WITHHELD) -> left out"): (
        "What the host has not backed is marked PageOffline already; this mark is the model's own"
        " note."
    ),
    ("mm/virtio_mem_bbm.py", "plug_request", "left-out: vm.states[block] = UNUSED"): (
        "A big block that could not be plugged is new again, not unused, and the next one either"
        " way."
    ),
    ("mm/memory_hotplug.py", "supports_memmap_on_memory", "% huge and (kernel.pages_per_b"): (
        "Who asks for a memmap in the block that is added may be given an ordinary one."
    ),
    ("mm/memory_hotplug.py", "supports_memmap_on_memory", "fits = memmap % huge and ("): ODD_SIZE,
    ("mm/memory_hotplug.py", "supports_memmap_on_memory", "% huge or not (kernel."): ODD_SIZE,
    ("mm/base_memory.py", "init_memory_block", "MEM_OFFLINE) -> left out"): (
        "Pfns of a new block do not say yet that it is offline: its device does."
    ),
    ("mm/online.py", "mhp_deinit_memmap_on_memory", "left-out: return"): (
        "Of a block without a memmap of its own nothing is taken back, a milestone more."
    ),
    ("mm/sparse.py", "sparse_add_section", "pfns == section and flags"): (
        "Where boot has mapped the memmap populating it finds nothing to do; what /proc/vmstat"
        " counts is held against recordings."
    ),
    ("mm/sparse_vmemmap.py", "write_struct_pages", "nr_pages > 0 or kernel.pfns"): (
        "A struct page that reaches into a page that comes with it is written twice, with the same."
    ),
    ("mm/sparse_vmemmap.py", "audit", "any((entry.cause != Cause.CORRUPTED"): (
        "It only judges: which known defect freeing is put down to."
    ),
    ("mm/page_alloc.py", "offline_isolated_pages", "int(lengths[away].sum())"): (
        "A broken page that is PageOffline is taken off managed_pages once, as is right: that"
        " mainline does so twice is a known defect."
    ),
    ("mm/xen_balloon.py", "outside", "-> return [pfns for pfns in found if isinstance"): ASKED,
    ("state/runs.py", "RunTable.merge", "(cells[1:] == cells[:-1])"): TWO_FORMS,
    ("mm/base_memory.py", "online_new_blocks", "left-out: return"): (
        "New blocks behind one that could not go online go online, too: that is what was wanted."
    ),
    ("mm/compound_vmemmap.py", "reuse_compound_section", "vmemmap_nr <= kernel"): (
        "A compound page that goes on in another section has struct pages of its own there: dearer,"
        " not wrong."
    ),
    ("mm/memremap.py", "pagemap_range", "left-out: raise KernelRefusal(errno.ENXIO)"): (
        "What is asked for over System RAM is refused by section_activate(), too, with -EEXIST, and"
        " undone; what undoing it tears is a known defect."
    ),
    ("mm/online.py", "offline_pages", "yield 'MEM_GOING_OFFLINE' -> after scan_movable"): (
        "What lies between is a look for what cannot move, which changes nothing."
    ),
    ("mm/sparse_vmemmap.py", "show_in_pfn_table", "all(both) or both[0]"): (
        "A struct page of which one half is mapped says that it is mapped: nobody reads it."
    ),
    ("mm/sub_pmd.py", "vmemmap_use_sub_pmd", "more = part.end_pfn == region.end_pfn"): (
        "No more than two sections have a part of one huge page, so that a second part leaves"
        " nothing to remember."
    ),
    ("state/runs.py", "RunTable._cut_at", "-> if pfn > self._end:"): TWO_FORMS,
    ("mm/hv_balloon.py", "hv_bring_pgs_online", "-> reserves = 'hv_page_online_one' not in"): (
        "What Hyper-V keeps was reserved until seed 000: no user of the flag goes wrong by that."
    ),
    ("mm/virtio_mem_bbm.py", "is_movable", "-> return all((zone != ZoneType.ZONE_MOVABLE"): (
        "It says which big blocks are tried first; all are tried in the end."
    ),
    ("mm/arch_memory.py", "unmaps_what_failed", "-> if kernel.geometry.arch != 'powerpc':"): (
        "What an add that failed had mapped is unmapped on x86, too, where mainline forgets it."
    ),
    ("mm/sparse.py", "sparse_add_section", "left-out: page_init_poison("): POISON,
    ("mm/zones.py", "remove_pfn_range_from_zone", "-> if not kernel.rules.page_init_poi"): POISON,
    ("mm/zones.py", "remove_pfn_range_from_zone", "left-out: page_init_poison("): POISON,
    ("mm/sparse_vmemmap.py", "write_struct_pages", "zone=0, nid=0, refcount=0"): NOTHING_YET,
    ("mm/sparse_vmemmap.py", "write_struct_pages", "nid=0, page_flags=0, page_pgmap"): NOTHING_YET,
    ("mm/sparse_vmemmap.py", "write_struct_pages", "NONE, nid=0, page_flags=0, refc"): NOTHING_YET,
    ("mm/virtio_mem_sbm.py", "unplug_any_sb_online", "block, 0, vm.parts)) -> left out"): (
        "Sub-blocks that are not unplugged at once are unplugged one by one."
    ),
    ("mm/virtio_mem_sbm.py", "unplug_any_sb_online", "and vm.plugged[block] != vm.whole:"): (
        "Sub-blocks that cannot be unplugged at once are unplugged one by one."
    ),
    ("mm/virtio_mem.py", "memory_notifier_cb", "-> if vm.in_sbm or vm.states.get(block) not"): (
        "A big block that is added has the number of a memory block that is offline, and no other"
        " can go online."
    ),
    ("mm/xen_balloon.py", "ballooned_pages", "-> ours = kernel.layout.hypervisor == 'xen'"): ASKED,
    ("mm/xen_balloon.py", "xen_online_page", "left-out: kernel.pfns.set_bits("): (
        "What hotplug adds is marked PageOffline already; the other mark is the model's own note."
    ),
    ("state/dev_pagemap.py", "DevPagemap.idle_ref", "-> if self.type != MemoryType."): COUNTS,
    ("state/dev_pagemap.py", "DevPagemap.idle_ref", "-> if self.counts_pages:"): COUNTS,
}
"""A file, a function, and what the text of one of its mutants holds and of no other; the reason."""


def why_harmless(mutant: Mutant) -> str:
    """Why *mutant* may survive; empty if nothing is known to excuse it."""
    for (file, function, text), reason in HARMLESS.items():
        if (mutant.file, mutant.function) == (file, function) and text in mutant.said:
            return reason
    return ""
