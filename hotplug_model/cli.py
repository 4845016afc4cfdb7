"""The command line: arguments in, one exit code out.

0 as it should be, 1 a counterexample or a difference, 2 the user's mistake, 3 ours, 4 a
state that the suite must reach was not reached, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from typing import Any, NoReturn

from hotplug_model import __version__
from hotplug_model.commands.cost_arguments import add_cost
from hotplug_model.commands.interrupt import PatientInterrupt
from hotplug_model.commands.mutate_arguments import add_mutate
from hotplug_model.commands.race_arguments import add_race
from hotplug_model.commands.streams import silence_stdout, tolerate_any_character
from hotplug_model.commands.users_code import in_users_code
from hotplug_model.errors import UserError
from hotplug_model.registry import unknown

DEBUG = "HOTPLUG_MODEL_DEBUG"
LISTS = (
    "ops", "walkers", "invariants", "changes", "releases", "geometries", "boots", "defects",
    "accepted", "sometimes",
)  # fmt: skip
COMMANDS = {
    "check": "check",
    "walk": "walk",
    "explore": "explore",
    "replay": "replay",
    "show": "show",
    "bisect": "bisect",
    "race": "race",
    "list": "list",
    "conform": "conform",
    "cost": "cost",
    "audit": "audit",
    "zoo": "zoo",
    "mutate": "mutate",
    "releases": "releases",
}
"""Subcommand -> module of ``hotplug_model.commands``, imported when it is asked for."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints are one line and name the nearest choice."""

    def error(self, message: str) -> NoReturn:
        """A usage error is the user's mistake like any other."""
        raise UserError(f"{message} (see {self.prog} --help)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            noun = "list" if action.dest == "what" else action.dest
            raise UserError(unknown(noun, str(value), list(action.choices)))


def run(argv: list[str]) -> int:
    """Parse *argv*, run the subcommand, and turn every error into a line and a code."""
    for stream in (sys.stdout, sys.stderr):
        tolerate_any_character(stream)
    try:
        code = dispatch(argv)
        sys.stdout.flush()
        return code
    except UserError as error:
        complain(str(error))
        return 2
    except BrokenPipeError:
        silence_stdout()
        return 141
    except Exception as error:
        return internal_error(error)


def dispatch(argv: list[str]) -> int:
    """Run the subcommand that *argv* names."""
    parser = make_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as exited:  # --help and --version
        return int(exited.code or 0)
    with PatientInterrupt() as interrupt:
        # NumPy turns an interrupt while it is imported into an ImportError.
        module = importlib.import_module(f"hotplug_model.commands.{COMMANDS[args.command]}")
        interrupt.poll()
    return int(module.run(args))


def make_parser() -> Parser:
    """The parser; building it imports nothing heavy."""
    parser = Parser(
        prog="hotplug-model",
        description="Property-based invariant checker for Linux memory hotplug.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_check(commands.add_parser("check", help="look for a counterexample", allow_abbrev=False))
    add_walk(commands.add_parser("walk", help="look for long, by chance", allow_abbrev=False))
    add_explore(commands.add_parser("explore", help="try everything", allow_abbrev=False))
    for name, what in (
        ("replay", "say whether traces still break what they did"),
        ("show", "draw traces"),
    ):
        command = commands.add_parser(name, help=what, description=what, allow_abbrev=False)
        add_traces(command)
    what = "say which change makes a trace fail"
    add_bisect(commands.add_parser("bisect", help=what, description=what, allow_abbrev=False))
    listing = commands.add_parser("list", help="list what there is", allow_abbrev=False)
    listing.add_argument("what", choices=LISTS, metavar="WHAT", help=", ".join(LISTS))
    add_form(listing)
    what = "replay recorded real kernels against the model"
    conform = commands.add_parser("conform", help=what, allow_abbrev=False)
    conform.add_argument("files", nargs="+", metavar="FILE")
    conform.add_argument("--json", action="store_true", help="as JSON")
    what = "count the vmemmap that memory needs, and that coming and going leaks"
    cost = commands.add_parser("cost", help=what, description=what, allow_abbrev=False)
    add_kernel(cost)
    add_cost(cost)
    what = "what each user of PageReserved() decides about each state of a page"
    audit = commands.add_parser("audit", help=what, description=what, allow_abbrev=False)
    add_audit(audit)
    what = "hunt every bug that is known, each on mainline with that bug alone"
    add_zoo(commands.add_parser("zoo", help=what, description=what, allow_abbrev=False))
    what = "say which operations and walkers are safe at once"
    race = commands.add_parser("race", help=what, description=what, allow_abbrev=False)
    add_kernel(race)
    add_race(race)
    add_workers(race)
    what = "say which of the bugs that traces show each release has"
    releases = commands.add_parser("releases", help=what, description=what, allow_abbrev=False)
    releases.add_argument("files", nargs="*", metavar="FILE", help="default: regressions/*.json")
    add_form(releases)
    what = "make small mistakes in the model and say which of them are noticed"
    mutate = commands.add_parser("mutate", help=what, description=what, allow_abbrev=False)
    add_mutate(mutate)
    add_workers(mutate)
    return parser


def add_traces(parser: argparse.ArgumentParser) -> None:
    """Which traces, and what is needed to read them."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a trace; - is stdin")
    parser.add_argument(
        "--walker", action="append", default=[], metavar="MODULE:FUNCTION",
        help="a walker of your own that a trace names; repeatable",
    )  # fmt: skip
    add_kernel(parser)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """How many processes; all the cores there are unless something is said."""
    parser.add_argument(
        "--workers", type=workers, metavar="N", help="processes; default: one a core"
    )


def add_form(parser: argparse.ArgumentParser) -> None:
    """How a table is printed, if not for people."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--markdown", action="store_true", help="as a Markdown table")


def add_zoo(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``zoo``."""
    parser.add_argument(
        "--change", action="append", default=[], metavar="NAME",
        help="hunt this one only; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=seeds, default=1, metavar="N", help="hunts for each; default: 1"
    )
    add_workers(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON, with every hunt")
    form.add_argument("--markdown", action="store_true", help="as a Markdown table")


def add_audit(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``audit``."""
    add_kernel(parser)
    parser.add_argument(
        "--user", action="append", default=[], metavar="MODULE",
        help="import your own users of PageReserved() from a module; repeatable",
    )  # fmt: skip
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--markdown", action="store_true", help="as Markdown tables")


def add_kernel(parser: argparse.ArgumentParser) -> None:
    """Which kernel: mainline unless something is said."""
    parser.add_argument(
        "--change", action="append", default=[], metavar="NAME|MODULE:FUNCTION",
        help="undo a commit, apply a proposal, or your own rewrite of the rules; repeatable",
    )  # fmt: skip
    parser.add_argument("--release", metavar="X.Y", help="a release instead of mainline")


def add_check(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``check``."""
    add_search(parser)
    parser.add_argument(
        "--profile", default="dev", metavar="dev|ci|nightly", help="how hard; default: dev"
    )
    parser.add_argument("--seconds", type=positive, metavar="N", help="how long, at the most")


def add_walk(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``walk``."""
    add_search(parser)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=count, metavar="N", help="how far; default: 100000")
    length.add_argument("--seconds", type=positive, metavar="N", help="how long instead")
    parser.add_argument(
        "--workers", type=workers, default=1, metavar="N", help="processes; default: 1"
    )


def add_explore(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``explore``."""
    add_machines(parser)
    parser.add_argument(
        "--depth", type=depth, default=1, metavar="N|full",
        help="operations one after the other; default: 1",
    )  # fmt: skip
    parser.add_argument(
        "--ops", type=names, default=(), metavar="OP,OP", help="default: every operation"
    )
    parser.add_argument(
        "--unusual", type=unusual, default=1, metavar="N",
        help="unusual choices an operation, at the most; default: 1",
    )  # fmt: skip
    parser.add_argument("--no-symmetry", action="store_true", help="numbering matters")
    parser.add_argument(
        "--back", type=count, metavar="K",
        help="from every state, go back to the one after boot in at most K operations",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="keep the search here, and go on if it is there"
    )
    parser.add_argument(
        "--workers", type=workers, default=1, metavar="N", help="processes; default: 1"
    )


def add_search(parser: argparse.ArgumentParser) -> None:
    """What ``check`` and ``walk`` both take."""
    add_machines(parser)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--races", action="store_true", help="some operations are in flight together, two at a time"
    )


def add_machines(parser: argparse.ArgumentParser) -> None:
    """What to search on, and where what is found goes."""
    add_kernel(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--geometry", metavar="G", help="default: the change's, or tiny")
    where.add_argument("--arch", metavar="A", help="the tiny geometry of an architecture")
    parser.add_argument("--boot", metavar="FILE|NAME", help="default: every boot layout")
    parser.add_argument("--strict", action="store_true", help="known defects count")
    parser.add_argument("--faults", action="store_true", help="allocations fail, too")
    parser.add_argument(
        "--traces", default="hotplug-traces", metavar="DIR", help="where to write a trace"
    )
    parser.add_argument("--json", metavar="FILE|-", help="write the verdict as JSON")


def add_bisect(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``bisect``."""
    kernel = "X.Y|COMMIT|mainline"
    parser.add_argument("--good", required=True, metavar=kernel, help="where the trace holds")
    parser.add_argument("--bad", required=True, metavar=kernel, help="where it fails")
    parser.add_argument(
        "--change", action="append", default=[], metavar="MODULE:FUNCTION",
        help="code that the trace names; repeatable",
    )  # fmt: skip
    parser.set_defaults(release=None)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("file", metavar="FILE", help="a trace; - is stdin")


def positive(text: str) -> float:
    """A number of seconds; argparse says so if it is none."""
    seconds = float(text)
    if not 0 < seconds < 1e9:
        raise ValueError
    return seconds


positive.__name__ = "number of seconds"


def count(text: str) -> int:
    """A number of steps; argparse says so if it is none."""
    steps = int(text)
    if not 0 < steps < 1 << 40:
        raise ValueError
    return steps


count.__name__ = "number of steps"


def seeds(text: str) -> int:
    """A number of seeds; argparse says so if it is none."""
    nr = int(text)
    if not 0 < nr <= 1000:
        raise ValueError
    return nr


seeds.__name__ = "number of seeds"


def workers(text: str) -> int:
    """A number of processes; argparse says so if it is none."""
    nr = int(text)
    if not 0 < nr <= 256:
        raise ValueError
    return nr


workers.__name__ = "number of workers"


def depth(text: str) -> int | None:
    """A number of operations, None for all that there are; argparse says so if it is none."""
    if text == "full":
        return None
    nr = int(text)
    if not 0 <= nr < 1 << 30:
        raise ValueError
    return nr


depth.__name__ = "depth, a number or full"


def unusual(text: str) -> int:
    """A number of unusual choices; argparse says so if it is none."""
    nr = int(text)
    if not 0 <= nr <= 64:
        raise ValueError
    return nr


unusual.__name__ = "number of unusual choices"


def names(text: str) -> tuple[str, ...]:
    """What commas separate; argparse says so if it is nothing."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found):
        raise ValueError
    return found


names.__name__ = "list of names"


def complain(message: str) -> None:
    """One line on stderr."""
    line = " ".join(message.split())
    shown = "".join(c if c.isprintable() else "?" for c in line)
    print(f"hotplug-model: {shown}", file=sys.stderr)


def internal_error(error: Exception) -> int:
    """Say that something is wrong with the tool or its surroundings, or with the user's code,
    not with the kernel; the exit code."""
    if os.environ.get(DEBUG):
        traceback.print_exc()
    if isinstance(error, OSError):
        complain(f"cannot go on: {error}")
        silence_stdout()
        return 3
    said = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
    if where := in_users_code(error):
        complain(f"{where}: {said}")
        return 2
    complain(f"internal error, please report it ({DEBUG}=1 shows more): {said}")
    return 3
