"""What mainline is known to get wrong, one file per area."""

from __future__ import annotations

from hotplug_model.defects.defect import DEFECTS, KnownDefect, known_defect
from hotplug_model.registry import import_all

__all__ = ["DEFECTS", "KnownDefect", "known_defect"]

import_all(__name__, list(__path__))
