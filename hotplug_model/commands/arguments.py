"""What several subcommands read from their arguments."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from hotplug_model.architectures import ARCHITECTURES
from hotplug_model.changes import KernelVariant, change_called, release_called
from hotplug_model.errors import UserError
from hotplug_model.mm.mainline import MAINLINE
from hotplug_model.trace import Trace
from hotplug_model.trace_json import MAX_BYTES
from hotplug_model.walkers.own import find_reader, refuse_unknown_askers

STDIN = "-"


def named_variant(args: argparse.Namespace) -> KernelVariant:
    """The kernel that ``--change`` and ``--release`` describe; mainline without them.

    What they are called otherwise is put in *args* as it is registered.
    """
    args.change = [change_called(name) for name in args.change]
    args.release = args.release and release_called(args.release)
    code = [name for name in args.change if ":" in name]
    if code:
        look_here_too()
    try:
        variant = KernelVariant.named(args.release, tuple(args.change))
        variant.rules()
        for change in variant.changes:
            refuse_unknown_askers(change.name, change.rewrite(MAINLINE))
    except (UserError, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as error:
        if not code:
            raise
        raise UserError(f"change {code[0]!r}: {type(error).__name__}: {error}") from error
    return variant


def look_here_too() -> None:
    """The user's own file usually lies in the directory where the command is typed."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def named_walkers(names: Iterable[str]) -> tuple[str, ...]:
    """*names*, once they are known: of the package, or code of the user's.

    :class:`UserError` for what is no walker at all.
    """
    known = tuple(names)
    if any(":" in name for name in known):
        look_here_too()
    return tuple(map(find_reader, known))


def settle(args: argparse.Namespace) -> KernelVariant:
    """The kernel, with what the user left open filled in from the changes it names.

    A change says on which geometry it shows, and whether it takes failing allocations.
    """
    variant = named_variant(args)
    if getattr(args, "arch", None) is not None:
        args.geometry = ARCHITECTURES[args.arch]
    where = {change.geometry for change in variant.changes}
    if args.geometry is None:
        args.geometry = where.pop() if len(where) == 1 else "tiny"
    args.faults = args.faults or any(change.faults for change in variant.changes)
    return variant


def override(args: argparse.Namespace) -> KernelVariant | None:
    """The kernel that the user names instead of the trace's, if any."""
    return named_variant(args) if args.change or args.release else None


def load_trace(path: str, trusted: list[str]) -> Trace:
    """The trace in a file or on stdin; :class:`UserError` for whatever is none."""
    try:
        return Trace.loads(read_text(path), tuple(trusted))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def read_text(path: str) -> str:
    """The text of a file, or of stdin; :class:`UserError` if there is none."""
    try:
        if path == STDIN:
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        return content.decode()
    except OSError as error:
        raise UserError(f"cannot read it: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"not text: {error}"[:120]) from None
