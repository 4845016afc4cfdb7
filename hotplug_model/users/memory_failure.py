"""mm/memory-failure.c: who maps a page that broke."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.page_state import Decision, PageState
from hotplug_model.users.user import Form, unreserved, user
from hotplug_model.walkers import WALKERS
from hotplug_model.walkers.walker import page_offline

TAKEN = WALKERS["memory_failure"].takes


def unreserved_and_not_offline(x: Extents) -> ExtentMask:
    """Neither reserved nor PageOffline.

    Source: commit 7a8817f2c96e ("mm: memory-failure: add PageOffline() check") (in v6.6).
    """
    return unreserved(x) & ~page_offline(x)


@user(
    "mm/memory-failure.c", decides=Decision.UNMAPPED, reach=PageState,
    why="It comes behind memory_failure(), which takes what pfn_to_online_page() returns.",
    thread="should be fine: not reached via memory_failure() due to pfn_to_online_page()",
    reads=TAKEN, visits=TAKEN, rule="hwpoison_user_mappings",
    forms={"offline": Form(says=unreserved_and_not_offline, reads=TAKEN)},
)  # fmt: skip
def hwpoison_user_mappings(x: Extents) -> ExtentMask:
    """Takes a broken page from the processes that map it, unless it is reserved.

    Source: hwpoison_user_mappings().
    """
    return unreserved(x)
