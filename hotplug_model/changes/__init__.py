"""Kernels to check: mainline, releases, and mainline with single commits undone."""

from __future__ import annotations

from hotplug_model.changes.called import change_called, release_called
from hotplug_model.changes.change import (
    CHANGES,
    RELEASES,
    Change,
    KernelVariant,
    VariantConflict,
    find_change,
)
from hotplug_model.registry import import_all

__all__ = [
    "CHANGES", "RELEASES", "Change", "KernelVariant", "VariantConflict", "change_called",
    "find_change", "release_called",
]  # fmt: skip

import_all(__name__, list(__path__))
