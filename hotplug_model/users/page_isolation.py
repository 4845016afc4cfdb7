"""mm/page_isolation.c: what keeps a range from going offline."""

from __future__ import annotations

from hotplug_model.page_state import Decision
from hotplug_model.users.user import scanning
from hotplug_model.walkers import WALKERS

scanning(
    WALKERS["has_unmovable_pages"], decides=Decision.MIGRATED,
    why="It scans the pageblocks of a block that shall go offline.",
    thread="should be fine: not relevant for ZONE_DEVICE",
)  # fmt: skip
