"""What people call a change or a release by, and the name that it is registered under."""

from __future__ import annotations

import re

from hotplug_model.changes.change import CHANGES, RELEASES
from hotplug_model.errors import UserError

ID = re.compile("[0-9a-f]{7,40}")
"""A commit id, whole or abbreviated as git does it at the least."""


def change_called(name: str) -> str:
    """The name of the change whose commit id begins with *name*, or *name* with it.

    What is no id, or of no change, is returned as it is. **Refuses** what may be several.
    """
    given = name.lower()
    if not ID.fullmatch(given):
        return name
    meant = [each for each in CHANGES.names() if each.startswith(given) or given.startswith(each)]
    if len(meant) > 1:
        raise UserError(f"change {name!r} may be any of {', '.join(meant)}")
    return meant[0] if meant else name


def release_called(name: str) -> str:
    """*name* without the ``v`` of its tag; what is no release is returned as it is."""
    release = name.removeprefix("v")
    return release if release in RELEASES else name
