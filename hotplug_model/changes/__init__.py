"""Kernels to check: mainline, releases, and mainline with single commits undone."""

from __future__ import annotations

from hotplug_model.changes.change import (
    CHANGES,
    RELEASES,
    Change,
    KernelVariant,
    VariantConflict,
    find_change,
)
from hotplug_model.registry import import_all

__all__ = ["CHANGES", "RELEASES", "Change", "KernelVariant", "VariantConflict", "find_change"]

import_all(__name__, list(__path__))
