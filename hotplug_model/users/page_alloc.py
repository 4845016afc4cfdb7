"""mm/page_alloc.c: candidates for contiguous allocations."""

from __future__ import annotations

from hotplug_model.page_state import Decision, PageState
from hotplug_model.users.user import scanning
from hotplug_model.walkers import WALKERS

scanning(
    WALKERS["pfn_range_valid_contig"], decides=Decision.MIGRATED,
    why="It scans the spans of populated zones; the isolation behind it refuses unmovable "
    "pages, such as those that hold their own block's memmap.",
    harmless=(PageState.SELF_HOSTED,),
    thread="should be fine: pfn_to_online_page() already guards it",
)  # fmt: skip
