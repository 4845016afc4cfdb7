"""The arguments of ``race``."""

from __future__ import annotations

import argparse

MAX_SWITCHES = 4


def add_race(parser: argparse.ArgumentParser) -> None:
    """Which operations to race, where, and how hard."""
    parser.add_argument(
        "ops", nargs="*", metavar="OP",
        help="two operations, or a walker and perhaps an operation; default: all pairs",
    )
    parser.add_argument(
        "--switches", type=switches, default=1, metavar="N",
        help=f"how often one is left for the other, 1 to {MAX_SWITCHES}; default: 1",
    )  # fmt: skip
    parser.add_argument("--geometry", metavar="G", help="default: the change's, or tiny")
    parser.add_argument("--boot", metavar="FILE|NAME", help="default: every boot layout")
    parser.add_argument(
        "--traces", default="hotplug-traces", metavar="DIR", help="where to write traces"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def switches(text: str) -> int:
    """A number of switches; argparse says so if it is none."""
    nr = int(text)
    if not 1 <= nr <= MAX_SWITCHES:
        raise ValueError
    return nr


switches.__name__ = "number of switches"
