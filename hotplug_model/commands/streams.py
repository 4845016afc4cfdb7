"""Where output goes: to nobody, or to a terminal that lacks characters."""

from __future__ import annotations

import os
import sys
from typing import IO


def silence_stdout() -> None:
    """Nobody reads it any more; without this the interpreter complains once more at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


def tolerate_any_character(stream: IO[str]) -> None:
    """A terminal that lacks a character gets its escape, not an exception."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
