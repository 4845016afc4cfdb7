"""The arguments of ``cost``."""

from __future__ import annotations

import argparse


def add_cost(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``cost`` but for the kernel."""
    parser.add_argument("--geometry", metavar="G", help="default: the change's, or x86_64")
    parser.add_argument(
        "--struct-page", type=int, metavar="BYTES", help="default: what the geometry has"
    )
    parser.add_argument("--add", required=True, metavar="SIZE", help="how much: 128M, 1G, 3T")
    parser.add_argument(
        "--cycles", type=cycles, default=1, metavar="N", help="add and remove; default: 1"
    )
    parser.add_argument(
        "--device", action="store_true", help="memremap_pages() instead of add_memory()"
    )
    parser.add_argument(
        "--altmap", action="store_true", help="the memory holds its own memmap, where it can"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def cycles(text: str) -> int:
    """A number of cycles; argparse says so if it is none."""
    nr = int(text)
    if not 0 < nr <= 1_000_000:
        raise ValueError
    return nr


cycles.__name__ = "number of cycles"
