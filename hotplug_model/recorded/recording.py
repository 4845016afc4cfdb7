"""Reading a recording: a gzipped JSON file of what a real kernel did."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hotplug_model.boot import BootLayout
from hotplug_model.errors import UserError
from hotplug_model.flags import OnlineType
from hotplug_model.geometry import GEOMETRIES, Geometry
from hotplug_model.pfn import PfnRange
from hotplug_model.recorded.kernels import DEBUG_BUILDS
from hotplug_model.state.resource import SYSTEM_RAM

MAX_BYTES = 256 << 20
FUZZ_STRIDE = 64
MIB_PAGES = 256
DEVICE_BLOCK_PAGES = 512
"""The emulator's own choice on x86-64: a huge page."""
VIRTIO = re.compile(r"virtio\d+")
"""What a virtio-mem driver calls the region that it claims."""
LOW_RAM = (PfnRange(1, 0x9F), PfnRange(0x100, 0x7FFE0))
"""What the emulator's firmware reports below 2 GiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step with the machine behind it."""

    op: str | list[Any]
    args: dict[str, Any]
    errno: int | str | None
    note: str
    out: str
    refused_by_emulator: bool
    windows: dict[str, list[list[Any]]]
    """Label -> run-length rows."""
    state: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A whole recording."""

    name: str
    kernel_key: str
    columns: list[str]
    stride: int
    """Distance of the pfns that were looked at."""
    boot: BootLayout
    device_block_pages: int = DEVICE_BLOCK_PAGES
    """What a virtio-mem device of the machine maps at a time."""
    reserved: dict[tuple[int, int], int] = field(default_factory=dict)
    """Pages that boot kept, by node and zone: an input, as RAM itself is."""
    steps: list[Step] = field(default_factory=list)

    @property
    def geometry(self) -> Geometry:
        """All recordings are x86-64 with 64-byte struct pages."""
        return GEOMETRIES["x86_64"]


def load(path: Path) -> Recording:
    """Read a recording; :class:`UserError` for a file that is none."""
    raw = read_json(path)
    try:
        if "layout" in raw:
            return load_fuzz(path.name, raw)
        return load_scenario(path.name, raw)
    except KeyError as error:
        raise UserError(f"{path}: not a recording: it has no {error}"[:160]) from None
    except ValueError as error:
        raise UserError(f"{path}: not a recording: {error}"[:160]) from None
    except (TypeError, IndexError, AttributeError, OverflowError):
        raise UserError(f"{path}: not a recording: what it holds has another form") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file that may be gzipped."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise UserError(f"{path}: larger than {MAX_BYTES} bytes unpacked")
        raw = json.loads(text)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except (ValueError, EOFError, zlib.error, RecursionError) as error:
        raise UserError(f"{path}: damaged: {str(error)[:100]}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: not a recording: no JSON object")
    return raw


def load_scenario(name: str, raw: dict[str, Any]) -> Recording:
    """A scenario: machine state after each step."""
    key, first = str(raw["kernel_key"]), raw["steps"][0]["state"]
    geometry = GEOMETRIES["x86_64"]
    regions = list(iomem(first["iomem"]))
    ram = tuple((pfns, 0) for label, pfns in regions if label == SYSTEM_RAM)
    drivers = [label for label, _ in regions if VIRTIO.fullmatch(label)]
    rest = tuple((n, pfns) for n, pfns in regions if n not in (SYSTEM_RAM, *drivers))
    size = int(str(first["block_size"]), 16) >> geometry.section_size_bits
    windows = [PfnRange(s, s + n) for s, n in raw["ranges"].values()]
    rows = [row for seen in first["ranges"].values() for row in seen["vmemmap"]]
    boot = replace(
        boot_layout(str(raw["cmdline"]), key, ram, rest, windows, size),
        memmap_start=memmap_start(geometry, [pfns for pfns, _ in ram], rows),
    )
    steps = [scenario_step(step) for step in raw["steps"]]
    return Recording(
        name=name, kernel_key=key, columns=raw["run_columns"], stride=1, boot=boot, steps=steps,
        device_block_pages=device_block_pages(str(raw.get("description", ""))),
        reserved={
            (z["nid"], z["zone"]): z["present"] - z["managed"]
            for z in first["zones"]
            if "zone" in z
        },
    )  # fmt: skip


def device_block_pages(description: str) -> int:
    """The block size of a virtio-mem device, which is a property of the machine."""
    found = re.search(r"virtio-mem.*block-size (\d+)([KMG])", description)
    if found is None:
        return DEVICE_BLOCK_PAGES
    return int(found[1]) << {"K": 10, "M": 20, "G": 30}[found[2]] >> 12


def memmap_start(geometry: Geometry, ram: list[PfnRange], rows: list[list[Any]]) -> int | None:
    """Where boot's memmap begins, by the first row of it: an input, as RAM itself is.

    It is one buffer, section behind section; None if no section of it was looked at.
    """
    sections = sorted({nr for pfns in ram for nr in geometry.sections_of(pfns)})
    for pfn, _, level, frame, _ in rows:
        section_nr = geometry.section_nr(pfn)
        if level and section_nr in sections:
            each = geometry.memmap_of(geometry.section_pfns(section_nr))
            page = geometry.memmap_of(PfnRange(pfn, pfn + 1)).start_pfn
            start = int(frame) - sections.index(section_nr) * each.nr_pages
            start -= page - each.start_pfn
            if start not in geometry.all_pfns:
                raise ValueError(f"memmap at {start}")
            return start
    return None


def scenario_step(raw: dict[str, Any]) -> Step:
    """One step of a scenario."""
    state = raw.get("state") or {}
    reply = raw.get("qmp") or {}
    return Step(
        op=raw["op"],
        args=raw["args"],
        errno=raw["errno"],
        note=str(raw.get("note") or ""),
        out=str(raw.get("out") or ""),
        refused_by_emulator="error" in reply,
        windows={label: seen["runs"] for label, seen in state.get("ranges", {}).items()},
        state=state,
    )


def load_fuzz(name: str, raw: dict[str, Any]) -> Recording:
    """A random sequence: two windows, sampled."""
    key, geometry = str(raw["kernel_key"]), GEOMETRIES["x86_64"]
    total = int(raw["layout"]["mem"].removesuffix("G")) << 18
    high = PfnRange(1 << 20, (1 << 20) + total - (1 << 19))
    append = str(raw["layout"]["append"])
    hidden = [hidden_range(size, start) for size, start in MEMMAP.findall(append)]
    ram = tuple((pfns, 0) for pfns in (*LOW_RAM, *without(high, sorted(hidden))))
    rest = tuple(("Reserved", pfns) for pfns in sorted(hidden))
    windows = [
        PfnRange(s * MIB_PAGES, (s + n) * MIB_PAGES) for _, s, n in raw["windows_MiB"]
    ]
    boot = boot_layout(append, key, ram, rest, windows, 1)
    boot.validate(geometry)
    steps = [
        Step(
            op=step["op"], args={}, errno=step["errno"], note="", out="",
            refused_by_emulator=False, windows=step["runs"], state={},
        )
        for step in raw["steps"]
    ]  # fmt: skip
    return Recording(
        name=name, kernel_key=key, columns=raw["run_columns"], stride=FUZZ_STRIDE, boot=boot,
        steps=steps,
    )  # fmt: skip


MEMMAP = re.compile(r"memmap=(\d+[MG])\$(0x[0-9a-f]+)")


def hidden_range(size: str, start: str) -> PfnRange:
    """``memmap=SIZE$START`` of the kernel command line."""
    unit = {"M": 8, "G": 18}[size[-1]]
    first = int(start, 16) >> 12
    return PfnRange(first, first + (int(size[:-1]) << unit))


def without(pfns: PfnRange, hidden: list[PfnRange]) -> Iterator[PfnRange]:
    """*pfns* less the *hidden* ranges."""
    start = pfns.start_pfn
    for hole in hidden:
        part = PfnRange(start, min(hole.start_pfn, pfns.end_pfn))
        if part.nr_pages > 0:
            yield part
        start = max(start, hole.end_pfn)
    if start < pfns.end_pfn:
        yield PfnRange(start, pfns.end_pfn)


def boot_layout(
    cmdline: str,
    key: str,
    ram: tuple[tuple[PfnRange, int], ...],
    firmware: tuple[tuple[str, PfnRange], ...],
    windows: list[PfnRange],
    sections_per_block: int,
) -> BootLayout:
    """What the command line and the firmware say."""
    state = re.search(r"memhp_default_state=(\w+)", cmdline)
    labels = {each.label: each for each in OnlineType}
    return BootLayout(
        ram=ram,
        window=tuple(windows),
        firmware=firmware,
        sections_per_block=sections_per_block,
        memhp_default_state=labels[state[1]] if state else OnlineType.MMOP_OFFLINE,
        movable_node=" movable_node" in cmdline,
        memmap_on_memory="memory_hotplug.memmap_on_memory=1" in cmdline,
        page_poisoning=key in DEBUG_BUILDS,
        device_private=key in DEBUG_BUILDS,
    )


def iomem(lines: list[str]) -> Iterator[tuple[str, PfnRange]]:
    """Top-level regions of /proc/iomem that hold whole pages, and System RAM that a driver
    added below one of its own."""
    for line in lines:
        top = re.sub(r"^ +(.* : System RAM) \(\w+\)$", r"\1", line)
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) : (.*)", top)
        if found:
            start, end = int(found[1], 16), int(found[2], 16) + 1
            pfns = PfnRange(-(-start >> 12), end >> 12)
            if pfns.nr_pages > 0:
                yield found[3], pfns
