"""Whose code raised an error: ours, or the user's own walker, invariant or patch."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from traceback import extract_tb

import hotplug_model

NOT_THE_USERS = [
    Path(hotplug_model.__file__).parent,
    *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")),
]


def in_users_code(error: BaseException) -> str:
    """File, line and function of the user's that raised *error*, itself or by what it called;
    "" if it had no part in it."""
    for frame in reversed(extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_file() and not any(map(path.is_relative_to, NOT_THE_USERS)):
            return f"{path.name}, line {frame.lineno}, {frame.name}()"
    return ""
