"""fs/proc/page.c: /proc/kpagecount, /proc/kpageflags, /proc/kpagecgroup."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents, Sees
from hotplug_model.walkers.walker import every_pfn, walker


@walker(
    "fs/proc/page.c",
    believes="an online page",
    complete=True,
    sees=Sees.ROW,
)
def kpageflags_read(x: Extents) -> ExtentMask:
    """Copies the flags of every online page, and of its compound head.

    Source: kpageflags_read(); commit aad5f69bc161 (in v5.4).
    """
    return every_pfn(x, "kpageflags_read")


@walker(
    "fs/proc/page.c",
    believes="an online page that may be mapped",
    complete=True,
    sees=Sees.ROW,
)
def kpagecount_read(x: Extents) -> ExtentMask:
    """Reads the map count of every online page.

    Source: kpagecount_read(); commit aad5f69bc161 (in v5.4).
    """
    return every_pfn(x, "kpagecount_read")


@walker(
    "fs/proc/page.c",
    believes="an online page that a memcg may own",
    complete=True,
    sees=Sees.ROW,
)
def kpagecgroup_read(x: Extents) -> ExtentMask:
    """Reads the memory cgroup of every online page.

    Source: kpagecgroup_read(); commit aad5f69bc161 (in v5.4).
    """
    return every_pfn(x, "kpagecgroup_read")
