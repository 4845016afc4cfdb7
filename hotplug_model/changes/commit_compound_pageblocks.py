""""mm/mm_init: fix pageblock migratetype for ZONE_DEVICE compound pages" (in v7.2).

Its id could not be confirmed. The release is inferred: it was queued after v7.1.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "compound-pageblocks",
    "mm/mm_init: fix pageblock migratetype for ZONE_DEVICE compound pages",
    since=(7, 2),
    breaks=("pageblocks_have_a_migratetype",),
)
def type_the_first_pageblock(rules: KernelRules) -> KernelRules:
    """Of a compound device page only the first pageblock gets a migratetype."""
    return replace(rules, device_pageblocks_all_typed=False)
