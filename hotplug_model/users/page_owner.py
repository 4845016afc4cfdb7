"""mm/page_owner.c: who allocated which page."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.page_state import Decision, PageState
from hotplug_model.users.user import scanning, user
from hotplug_model.walkers import WALKERS
from hotplug_model.walkers.walker import page_reserved, page_zone_is_walked

scanning(
    WALKERS["pagetypeinfo_showmixedcount_print"], decides=Decision.SHOWN,
    why="It scans the pageblocks of populated zones whose first pfn is online, and counts "
    "allocated pages only.",
    harmless=(PageState.ONLINE,),
    thread="should be fine: never called for ZONE_DEVICE, and asks pfn_to_online_page()",
)  # fmt: skip


@user(
    "mm/page_owner.c", decides=Decision.SHOWN,
    reach=(PageState.ONLINE, PageState.BOOT_RESERVED, PageState.BOOT_HOLE),
    why="It runs once, at boot, over the populated zones, before any memory is added.",
    thread="should be fine: never called for ZONE_DEVICE (!populated_zone())",
    visits=page_zone_is_walked,
)  # fmt: skip
def init_pages_in_zone(x: Extents) -> ExtentMask:
    """Gives every page of a zone an owner that was allocated before, unless reserved.

    Source: init_pages_in_zone().
    """
    return x.pfn_valid & page_zone_is_walked(x) & ~page_reserved(x)
