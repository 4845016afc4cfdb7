"""Recorded real kernels, replayed against the model."""

from __future__ import annotations

from hotplug_model.recorded.conform import Conformance, conform, conform_main

__all__ = ["Conformance", "conform", "conform_main"]
