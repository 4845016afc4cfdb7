"""drivers/staging/kpc2000/kpc_dma/fileops.c: pages of a DMA transfer."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents
from hotplug_model.page_state import Decision
from hotplug_model.users.user import GUP, NOT_DEVICE, PINNED, everything, unreserved, user


@user(
    "drivers/staging/kpc2000/kpc_dma/fileops.c", decides=Decision.DIRTIED, reach=GUP,
    why=PINNED, thread="patch 7", rule="transfer_complete_cb", reads=everything,
    forms={"not_device": NOT_DEVICE},
)  # fmt: skip
def transfer_complete_cb(x: Extents) -> ExtentMask:
    """Sets PG_dirty on the pages of a transfer that are not reserved.

    Source: transfer_complete_cb(), while there was the kpc2000 driver.
    """
    return unreserved(x)
