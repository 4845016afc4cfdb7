"""Running an operation from milestone to milestone."""

from __future__ import annotations

from collections.abc import Callable

from hotplug_model.errors import KernelRefusal, ModelError
from hotplug_model.rules import Steps
from hotplug_model.state.locks import Waits

__all__ = ["Steps", "run"]


def run(steps: Steps, at: Callable[[str], None] | None = None) -> KernelRefusal | None:
    """Run to the end, calling *at* with every milestone; the refusal, if any."""
    try:
        for milestone in steps:
            if type(milestone) is Waits:
                raise ModelError(f"an operation that runs alone {milestone}")
            if at is not None:
                at(milestone)
    except KernelRefusal as refusal:
        return refusal
    return None
