"""arch/x86/mm/ioremap.c: what drivers map once more."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.page_state import Decision, PageState
from hotplug_model.users.user import (
    Form,
    online_and_unreserved,
    user,
    valid_and_unreserved,
)

RAM = (
    PageState.ONLINE, PageState.BOOT_RESERVED, PageState.SELF_HOSTED, PageState.FAKE_OFFLINE,
    PageState.HWPOISON, PageState.ONLINING, PageState.NEVER_ONLINED, PageState.WAS_ONLINE,
    PageState.OFFLINE_POISONED, PageState.WITHHELD,
)  # fmt: skip


def not_online_or_reserved(x: Extents) -> ExtentMask:
    """Nothing that is online and not reserved.

    Source: "[PATCH v1 08/10] x86/mm: Prepare __ioremap_check_ram() for PG_reserved changes",
    linux-kernel, October 2019.
    """
    return ~online_and_unreserved(x)


@user(
    "arch/x86/mm/ioremap.c", decides=Decision.REMAPPED, reach=RAM,
    why="It is asked about System RAM resources only, which memremap_pages() refuses to share.",
    thread="patch 11", rule="ioremap_check_ram",
    forms={"online": Form(says=not_online_or_reserved, reads=lambda x: x.online_page)},
)  # fmt: skip
def __ioremap_check_ram(x: Extents) -> ExtentMask:
    """Lets a driver map System RAM that is invalid or reserved.

    Source: __ioremap_check_ram().
    """
    return ~valid_and_unreserved(x)
