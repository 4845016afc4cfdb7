"""Exhaustive search: every state up to a depth, and the shortest counterexample, proven."""

from __future__ import annotations

from hotplug_model.explore.expander import Expander, Expansion
from hotplug_model.explore.exploration import Exploration, shortest
from hotplug_model.explore.space import FULL, Path, Space
from hotplug_model.explore.visited import Visited

__all__ = [
    "FULL", "Expander", "Expansion", "Exploration", "Path", "Space", "Visited", "shortest",
]  # fmt: skip
