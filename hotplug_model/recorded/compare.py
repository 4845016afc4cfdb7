"""Comparing the model with what was observed behind a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from hotplug_model.flags import (
    NotifierAction,
    PageContent,
    SectionFlag,
)
from hotplug_model.kernel import Kernel
from hotplug_model.mm.base_memory import valid_zones_show
from hotplug_model.pfn import PfnRange, merge_ranges
from hotplug_model.recorded.device_pages import DRIVER_RECORDED, compare_device_pages
from hotplug_model.recorded.pages import compare_kpage, compare_raw_pages, parts
from hotplug_model.recorded.pmem import DRIVER_PGMAP
from hotplug_model.recorded.recording import Recording, Step, iomem
from hotplug_model.recorded.tally import Tally
from hotplug_model.recorded.vmemmap import compare_vmemmap, compare_vmstat
from hotplug_model.state.resource import SYSTEM_RAM

POISON_ZONE, POISON_NID = 7, 63
"""What page_zonenum() and page_to_nid() make of a poisoned struct page on x86-64."""
MODELLED_NOTIFIERS = frozenset(
    int(a)
    for a in NotifierAction
    if a not in (NotifierAction.MEM_PREPARE_ONLINE, NotifierAction.MEM_FINISH_OFFLINE)
)
STATE_NAMES = {1: "offline", 2: "going-online", 3: "online", 4: "going-offline"}


def compare_step(kernel: Kernel, recording: Recording, step: Step, tally: Tally) -> None:
    """Compare everything that was recorded behind *step*."""
    for label, rows in step.windows.items():
        compare_runs(kernel, recording, label, rows, tally)
        compare_raw_pages(
            kernel, recording.kernel_key, label, recording.columns, rows, recording.stride, tally
        )
        compare_device_pages(kernel, recording, label, rows, tally)
    state = step.state
    for row in state.get("zones", ()):
        compare_zone(kernel, recording, row, tally)
    if "blocks" in state:
        compare_blocks(kernel, state["blocks"], tally)
    for label, seen in state.get("ranges", {}).items():
        compare_kpage(kernel, label, seen, tally)
        for row in seen["sections"]:
            compare_section(kernel, label, row, tally)
    ranges = state.get("ranges", {})
    if ranges:
        compare_vmemmap(kernel, {name: seen["vmemmap"] for name, seen in ranges.items()}, tally)
    compare_vmstat(kernel, state.get("vmstat", {}), tally)
    if "iomem" in state:
        lines = [text.strip() for text in state["iomem"]]
        # What a driver manages lies inside of the region of its device.
        ram = merge_ranges(r for name, r in iomem(lines) if name.startswith(SYSTEM_RAM))
        model = kernel.iomem.merged(SYSTEM_RAM)
        tally.compare("System RAM in iomem", "", list(map(str, ram)), list(map(str, model)))
    if "notifier_events" in state:
        seen = [e for e in state["notifier_events"] if e[0] in MODELLED_NOTIFIERS]
        sent = [[int(a), r.start_pfn, r.nr_pages] for a, r in kernel.notified]
        tally.compare("notifier calls", "", seen, sent)


def compare_runs(
    kernel: Kernel, recording: Recording, label: str, rows: list[list[Any]], tally: Tally
) -> None:
    """Compare run-length rows on every range where neither side changes."""
    x = kernel.extents()
    predicted = {name: column.tolist() for name, column in predictions(kernel).items()}
    names = [name for name in recording.columns[2:] if name in predicted]
    index = {name: recording.columns.index(name) for name in names}
    for extent, row, pfns in parts(x, rows, recording.stride):
        defined = predicted["defined"][extent]
        for name in names:
            if name in ("zone", "nid") and not defined:
                continue
            tally.compare(name, f"{label} {pfns}", row[index[name]], predicted[name][extent])


def predictions(kernel: Kernel) -> dict[str, np.ndarray[Any, Any]]:
    """The recorded columns as the model has them, one value an extent."""
    x = kernel.extents()
    poisoned = x.poisoned
    maps = np.where(x.dev_pagemap == DRIVER_PGMAP, DRIVER_RECORDED, x.dev_pagemap)
    mapped = x.mapped
    return {
        "present": x.section_has(SectionFlag.MARKED_PRESENT).astype(int),
        "hasmap": x.section_has(SectionFlag.HAS_MEM_MAP).astype(int),
        "online": x.section_has(SectionFlag.IS_ONLINE).astype(int),
        "early": x.section_has(SectionFlag.IS_EARLY).astype(int),
        "taint": x.section_has(SectionFlag.TAINT_ZONE_DEVICE).astype(int),
        "usage": x.section_has(SectionFlag.USAGE).astype(int),
        "sub": x.subsection.astype(int),
        "pfn_valid": x.pfn_valid.astype(int),
        "online_page": x.online_page.astype(int),
        "get_dev_pagemap": maps,
        "page_mapped": mapped.astype(int),
        "zone": np.where(poisoned, POISON_ZONE, x.zone),
        "nid": np.where(poisoned, POISON_NID, x.nid),
        "defined": x.content != PageContent.GARBAGE,
    }


def compare_zone(
    kernel: Kernel, recording: Recording, row: dict[str, Any], tally: Tally
) -> None:
    """Compare the span and the present pages of a zone or a node, and what a zone manages."""
    node = kernel.nodes[row["nid"]]
    if "zone" in row:
        zone = node.zones[row["zone"]]
        model = (zone.zone_start_pfn, zone.spanned_pages, zone.present_pages)
    else:
        model = (node.node_start_pfn, node.node_spanned_pages, node.node_present_pages)
    where = f"node {row['nid']} {row.get('name', '')}"
    if "zone" in row:
        kept = recording.reserved.get((row["nid"], row["zone"]), 0)
        tally.compare("managed", where, row["managed"], zone.managed_pages - kept)
        tally.compare("contiguous", where, row["contiguous"], zone.contiguous)
    for name, value in zip(("start", "spanned", "present"), model, strict=True):
        tally.compare(name, where, row[name], value)


def compare_blocks(kernel: Kernel, rows: list[list[Any]], tally: Tally) -> None:
    """Compare which blocks exist, their states, valid_zones and nodes."""
    tally.compare("blocks", "", [row[0] for row in rows], sorted(kernel.blocks))
    for block_id, state, valid_zones, _, _, nodes in rows:
        if block_id not in kernel.blocks:
            continue
        block = kernel.blocks[block_id]
        names = [zone.label for zone in valid_zones_show(kernel, block_id)] or ["none"]
        where = f"block {block_id}"
        tally.compare("state", where, state, STATE_NAMES[block.state])
        tally.compare("valid_zones", where, valid_zones, " ".join(names))
        tally.compare("node", where, nodes, [block.nid])


def compare_section(kernel: Kernel, label: str, row: list[Any], tally: Tally) -> None:
    """Compare the flags, the usage map and the subsection map of a section."""
    section_nr, flags, has_usage, bitmap = row
    pfns = kernel.geometry.section_pfns(section_nr)
    own = kernel.pfns.at(pfns.start_pfn, "section_flags")
    where = f"{label} section {section_nr}"
    # The kernel's own flags lie below ours.
    tally.compare("section flags", where, int(flags or "0", 16), own & (SectionFlag.USAGE - 1))
    tally.compare("section usage", where, bool(has_usage), bool(own & SectionFlag.USAGE))
    if bitmap is not None:
        tally.compare("subsection map", where, int(bitmap, 16), subsection_map(kernel, pfns))


def subsection_map(kernel: Kernel, section: PfnRange) -> int:
    """``mem_section_usage.subsection_map`` as one number."""
    size = kernel.geometry.pages_per_subsection
    starts = range(section.start_pfn, section.end_pfn, size)
    return sum(kernel.pfns.at(pfn, "subsection") << bit for bit, pfn in enumerate(starts))
