"""What is not compared with a recorded kernel, and why. Nothing else is left out.

A test reads this list against the columns that the recordings have.
"""

from __future__ import annotations

INCOMPARABLE: dict[str, str] = {
    "runs.nosec": "whether the section root is allocated; the model has no roots",
    "runs.flags": "of a page that is online: what its user does with it. Of any other one, "
    "also of ZONE_DEVICE, every bit is compared, but where compound pages may have been: "
    "there the zone and the node, and of the head and the tails of one that is there the count",
    "runs.ref": "likewise",
    "runs.mapcount": "likewise; the page type PageOffline is part of it",
    "runs.page_pgmap": "of pages that are no device's: there its bytes are the lru list's",
    "zones.managed at boot": "an input: what boot kept of a zone's pages is counted at the first "
    "step; how the number changes must follow",
    "blocks.removable": "constant 1 since 5.4",
    "blocks.phys_device": "constant 0 on x86",
    "vmemmap.boot start": "an input: where the first recorded page of the boot memmap lies "
    "becomes part of the boot layout; every other one, in whatever step, must follow from it",
    "vmemmap.buddy page": "which of its pages the buddy allocator gives is chance: it must be "
    "online kernel memory that nothing else claims, as many pages, shared alike",
    "state.kpageflags": "what the user of a page does with it; NOPAGE, HWPOISON, OFFLINE and, "
    "of memory added later, RESERVED are compared, and every bit of a page that the "
    "allocator does not have",
    "state.kpagecount": "how often a page is mapped that the allocator gave away; of any other "
    "page it must be 0",
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
