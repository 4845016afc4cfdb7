"""What is not compared with a recorded kernel, and why. Nothing else is left out.

A test reads this list against the columns that the recordings have.
"""

from __future__ import annotations

INCOMPARABLE: dict[str, str] = {
    "runs.nosec": "whether the section root is allocated; the model has no roots",
    "runs.flags": "dynamic page flags; PG_reserved and PageOffline are judged by the "
    "audit of PG_reserved, a later part",
    "runs.ref": "dynamic for online pages; device pages follow with device memory types",
    "runs.mapcount": "dynamic",
    "runs.page_pgmap": "shares its bytes with the lru list; follows with device memory types",
    "zones.managed": "boot reservations of the allocator are not recorded",
    "zones.contiguous": "a cache that walkers skip tests by; not modelled",
    "blocks.removable": "constant 1 since 5.4",
    "blocks.phys_device": "constant 0 on x86",
    "vmemmap.boot start": "an input: where the first recorded page of the boot memmap lies "
    "becomes part of the boot layout; every other one, in whatever step, must follow from it",
    "vmemmap.buddy page": "which of its pages the buddy allocator gives is chance: it must be "
    "online kernel memory that nothing else claims, as many pages, shared alike",
    "state.kpageflags": "user space's view of dynamic flags; a later part",
    "state.kpagecount": "dynamic",
    "state.block_size": "an input: it becomes part of the boot layout",
    "notifier.64": "MEM_PREPARE_ONLINE (6.8 and later) carries no state that is modelled",
    "notifier.128": "MEM_FINISH_OFFLINE (6.8 and later) carries no state that is modelled",
    "errno.EBUSY": "offlining fails on unmovable allocations that nobody records: where "
    "the kernel says so, the model is told to find one",
    "errno.CRASH": "after an oops nothing was recorded; the model must have freed memmap "
    "to someone who did not own it",
    "zone where undefined": "struct pages that nobody initialised hold what the memory "
    "held before (an altmap, a self-hosted memmap); zeroed, poisoned and stale ones are "
    "compared",
    "fuzz between samples": "random sequences were recorded at every 64th pfn only",
}
