"""Kernel code that scans pfns: who reads which struct pages and what it takes them for."""

from __future__ import annotations

from hotplug_model.extents import Sees
from hotplug_model.registry import import_all
from hotplug_model.walkers.walker import READERS, WALKERS, Holds, Scan, Walker, walker

__all__ = ["READERS", "WALKERS", "Holds", "Scan", "Sees", "Walker", "walker"]

import_all(__name__, list(__path__))
