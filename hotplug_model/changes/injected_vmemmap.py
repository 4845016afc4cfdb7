"""Bugs of vmemmap that no released kernel is known to have had."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import proposing
from hotplug_model.rules import KernelRules


@proposing(
    "altmap-for-base-pages",
    "x86 gives every page to the altmap that vmemmap_free() was called with",
    breaks=("altmaps_account_for_what_they_gave", "memmap_goes_back_to_its_owner"),
)
def altmap_for_base_pages(rules: KernelRules) -> KernelRules:
    """Base pages, which x86 never takes from an altmap, are given to it when freed.

    Since the altmap became an argument of vmemmap_free() x86 has to know this itself;
    until then it was found by where the page lies. Whether a release had it wrong in
    between was not confirmed.
    """
    return replace(rules, altmap_gives_huge_pages_only=False)


@proposing(
    "aliases-hold-no-reference",
    "an alias of a deduplicated vmemmap page takes no reference on it",
    breaks=("vmemmap_is_freed_once",),
)
def aliases_hold_no_reference(rules: KernelRules) -> KernelRules:
    """Every PTE of a deduplicated memmap frees the page that it maps."""
    return replace(rules, vmemmap_dedup_counts_references=False)
