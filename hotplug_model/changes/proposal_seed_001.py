"""The roads that the thread of commit 1f90a3477df3 discussed and did not take.

Source: "mm: Teach pfn_to_online_page() about ZONE_DEVICE section collisions",
linux-mm, January 2021.
"""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import proposing
from hotplug_model.rules import KernelRules


@proposing(
    "seed001-taint-only",
    "the patch as first posted: taint and pgmap look-up, no subsection test",
    breaks=("walkers_read_no_poisoned_page",),
)
def taint_only(rules: KernelRules) -> KernelRules:
    """Only the pgmap look-up tells device pages apart; after memunmap nothing does."""
    return replace(rules, online_checks_subsection="never")


@proposing(
    "seed001-slow-path",
    "test the subsection in tainted sections only",
    breaks=("refusals_leave_the_machine_alone",),
)
def slow_path_only(rules: KernelRules) -> KernelRules:
    """The subsection is asked in tainted sections only; a hole elsewhere is online."""
    return replace(rules, online_checks_subsection="slow_path")


@proposing(
    "seed001-no-sharing",
    "device memory must not share a section with System RAM",
)
def no_sharing(rules: KernelRules) -> KernelRules:
    """memremap_pages() refuses a section that System RAM touches: nothing to tell apart.

    The subsection test of commit 9f9b02e5b346 stands on its own and stays.
    """
    return replace(
        rules, memremap_part_of_section="keeps_off", section_taint_zone_device=False
    )  # fmt: skip
