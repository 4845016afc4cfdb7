"""Makes the recordings beside the tests from full ones: without what nothing compares.

    python -m stateful_tests.compact SOURCE [TARGET]

The same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from pathlib import Path
from typing import Any

from hotplug_model.recorded.pages import (
    KPF_HWPOISON,
    KPF_NOPAGE,
    KPF_OFFLINE,
    KPF_OWNER_PRIVATE,
    KPF_RESERVED,
)

RECORDINGS = Path(__file__).parent / "recordings"
UNUSED = ("console_warnings", "boot_s")
UNUSED_OF_STEP = ("us", "events", "rc")
COUNTERS = ("nr_memmap_pages", "nr_memmap_boot_pages")
TELLING = KPF_NOPAGE | KPF_OFFLINE | KPF_RESERVED | KPF_HWPOISON
"""A page with none of these bits in /proc/kpageflags is used in ways that no model foresees."""


def compact(recording: dict[str, Any]) -> dict[str, Any]:
    """*recording* without what the comparison does not read. Changes it in place."""
    drop(recording, UNUSED)
    for step in recording["steps"]:
        drop(step, UNUSED_OF_STEP)
        if "out" in step:
            step["out"] = ""
        if step.get("qmp"):
            step["qmp"] = {"error": 1} if "error" in step["qmp"] else {}
        state = step.get("state") or {}
        if "vmstat" in state:
            state["vmstat"] = {k: v for k, v in state["vmstat"].items() if k in COUNTERS}
        for seen in state.get("ranges", {}).values():
            seen["kpageflags"] = telling(seen.get("kpageflags", []))
    return recording


def telling(rows: list[list[Any]]) -> list[list[Any]]:
    """Rows of /proc/kpageflags without what the allocator and its users do with pages."""
    joined: list[list[Any]] = []
    for pfn, nr_pages, word in rows:
        bits = int(word, 16)
        kept = f"{bits if bits & TELLING else bits & KPF_OWNER_PRIVATE:x}"
        if joined and joined[-1][2] == kept and sum(joined[-1][:2]) == pfn:
            joined[-1][1] += nr_pages
        else:
            joined.append([pfn, nr_pages, kept])
    return joined


def drop(record: dict[str, Any], names: tuple[str, ...]) -> None:
    """Take the fields called *names* away."""
    for name in names:
        record.pop(name, None)


def packed(recording: dict[str, Any]) -> bytes:
    """*recording* as gzipped JSON, the same bytes each time."""
    text = json.dumps(recording, separators=(",", ":")).encode()
    return gzip.compress(text, compresslevel=9, mtime=0)


def main(arguments: list[str]) -> int:
    """Compact every recording of a directory, and say how large they are now."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path, help="directory of full recordings")
    parser.add_argument("target", type=Path, nargs="?", default=RECORDINGS)
    args = parser.parse_args(arguments)
    paths = sorted(args.source.glob("*.gz"))
    if not paths or not args.target.is_dir():
        parser.error("no recordings in SOURCE" if not paths else "no directory TARGET")
    size = 0
    for path in paths:
        content = packed(compact(json.loads(gzip.decompress(path.read_bytes()))))
        (args.target / path.name).write_bytes(content)
        size += len(content)
    print(f"{len(paths)} recordings, {size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
