"""The arguments of ``mutate``."""

from __future__ import annotations

import argparse


def add_mutate(parser: argparse.ArgumentParser) -> None:
    """Which mutants to try, and how hard."""
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--sample", type=mutants, metavar="N", help="how many, chosen by the seed; default: all"
    )
    parser.add_argument(
        "--steps", type=steps, default=1000, metavar="N",
        help="operations that each is given; default: 1000",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="keep verdicts here, and go on if they are there"
    )
    parser.add_argument("--json", action="store_true", help="as JSON, with every verdict")


def mutants(text: str) -> int:
    """A number of mutants; argparse says so if it is none."""
    nr = int(text)
    if nr < 1:
        raise ValueError
    return nr


mutants.__name__ = "number of mutants"


def steps(text: str) -> int:
    """A number of steps; argparse says so if it is none."""
    nr = int(text)
    if not 1 <= nr <= 1_000_000:
        raise ValueError
    return nr


steps.__name__ = "number of steps"
