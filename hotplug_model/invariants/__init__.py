"""What must hold, and what must have happened for that to mean something."""

from __future__ import annotations

from hotplug_model.invariants.invariant import (
    INVARIANTS,
    SOMETIMES,
    Invariant,
    across,
    always,
    law,
    sometimes,
)
from hotplug_model.registry import import_all

__all__ = ["INVARIANTS", "SOMETIMES", "Invariant", "across", "always", "law", "sometimes"]

import_all(__name__, list(__path__))
