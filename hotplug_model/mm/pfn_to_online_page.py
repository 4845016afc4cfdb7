"""pfn_to_online_page(): mm/memory_hotplug.c."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.flags import SectionFlag


def pfn_to_online_page(x: Extents) -> ExtentMask:
    """Rows whose page pfn walkers may use.

    The section is online, the subsection populated; and where the section is tainted,
    because ZONE_DEVICE shares it, no live dev_pagemap claims the pfn.

    Source: commit 9f9b02e5b346 ("mm: teach pfn_to_online_page() to consider subsection
    validity") and commit 1f90a3477df3 ("mm: teach pfn_to_online_page() about
    ZONE_DEVICE section collisions") (both in v5.12).
    """
    rules = x.kernel.rules
    tainted = x.section_has(SectionFlag.TAINT_ZONE_DEVICE)
    online = x.section_has_online & ~(tainted & (x.dev_pagemap >= 0))
    if rules.online_checks_arch_pfn_valid and x.kernel.layout.holes_in_zone:
        online &= x.pfn_valid
    if rules.online_checks_subsection == "always":
        online &= x.pfn_section_valid
    elif rules.online_checks_subsection == "slow_path":
        online &= x.pfn_section_valid | ~tainted
    return online
