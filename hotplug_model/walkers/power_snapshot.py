"""kernel/power/snapshot.c: the image of memory for hibernation."""

from __future__ import annotations

from hotplug_model.arrays import ExtentMask
from hotplug_model.extents import Extents, Sees
from hotplug_model.walkers.walker import (
    Holds,
    every_pfn_of_zones,
    page_offline,
    page_reserved,
    pages_of_zones,
    walker,
)


def saved(x: Extents) -> ExtentMask:
    """Pages of the zone that are not PageOffline, where it asks; pages behind which a balloon
    or a hypervisor left nothing are saved where it does not.

    Source: "[PATCH v2 8/8] PM / Hibernate: exclude all PageOffline() pages", linux-kernel,
    November 2018, <20181122100627.5189-9-david@redhat.com>.
    """
    rows = pages_of_zones(x, "saveable_page") & x.pfn_valid
    return rows & ~page_offline(x) if x.kernel.rules.saveable_page_asks_page_offline else rows


def copied(x: Extents) -> ExtentMask:
    """Saved pages; of reserved ones those that the CPU finds in the linear map."""
    return saved(x) & (x.kernel_page_present | ~page_reserved(x))


def of_the_zone(x: Extents) -> ExtentMask:
    """Pages of the zone that is walked."""
    return pages_of_zones(x, "mark_free_pages")


@walker(
    "kernel/power/snapshot.c",
    believes="a page of the zone, to be marked as free or not",
    takes=of_the_zone,
    holds=Holds.DEVICE_HOTPLUG,
    sees=Sees.ROW,
)
def mark_free_pages(x: Extents) -> ExtentMask:
    """Asks every page of every zone which zone it is of.

    No kernel of the model asks pfn_valid(), as all do: see ``mark-free-pages-asks-pfn-valid``.

    Source: mark_free_pages(); lock_device_hotplug() in hibernate(), kernel/power/hibernate.c.
    """
    return every_pfn_of_zones(x, "mark_free_pages")


@walker(
    "kernel/power/snapshot.c",
    believes="RAM whose content must be in the image",
    takes=saved,
    copies=copied,
    complete=True,
    holds=Holds.DEVICE_HOTPLUG,
    sees=Sees.ROW,
)
def saveable_page(x: Extents) -> ExtentMask:
    """Looks at every page of every zone for what resuming needs.

    # Simplified: none of it is nosave, free or high memory; saveable_highmem_page()
    therefore finds nothing. Before kernel_page_present() every page counted as present.

    Source: saveable_page(), count_data_pages(), copy_data_pages(); lock_device_hotplug() in
    hibernate() and software_resume(), kernel/power/hibernate.c.
    """
    return every_pfn_of_zones(x, "saveable_page")
