"""Outcomes that are not violations."""

from __future__ import annotations

import errno

EHWPOISON = 133
"""``EHWPOISON`` (include/uapi/asm-generic/errno.h); Python names it from 3.14 on only."""

NAMES = {EHWPOISON: "EHWPOISON", errno.EOPNOTSUPP: "EOPNOTSUPP"}
"""What Python has no name for, or another: ENOTSUP is the C library's."""


def errname(err: int) -> str:
    """The errno's name, e.g. ``EBUSY``."""
    return NAMES.get(err) or errno.errorcode[err]


class KernelRefusal(Exception):
    """The modelled kernel returned an error, as it is entitled to."""

    def __init__(self, err: int) -> None:
        super().__init__(f"-{errname(err)}")
        self.errno = err


class ModelError(Exception):
    """The model contradicts itself: a bug in this project, never in the kernel."""


class UserError(Exception):
    """The user asked for something that cannot be; its text is the one line to print."""
