"""The recorded kernels, as releases plus what their distribution had beyond them."""

from __future__ import annotations

from hotplug_model.changes import KernelVariant
from hotplug_model.errors import UserError
from hotplug_model.registry import unknown

STABLE_6_1 = (
    "001002e73712", "5ec8e8ea8b77", "82f0b6f041fa", "af288a426c3e", "c1a6c536fb08",
    "cd681403a870", "f42ce5f087eb",
)  # fmt: skip
"""What 6.1.192 has beyond v6.1 of what matters on x86: read in its sources. Where memmaps are
poisoned the recordings show cd681403a870; the first four show in flight only."""

KERNELS: dict[str, KernelVariant] = {
    "5.10": KernelVariant.named("5.10", ()),
    "6.1": KernelVariant.named("6.1", (), STABLE_6_1),
    "6.12": KernelVariant.named("6.12", ()),
    "hp": KernelVariant.named("6.1", (), STABLE_6_1),
}
"""By ``kernel_key``. ``hp`` is 6.1 built with DEBUG_VM: it differs in what boot says
(memmaps are poisoned, DEVICE_PRIVATE exists), not in its rules."""

DEBUG_BUILDS = frozenset({"hp"})
"""Kernels built with DEBUG_VM and DEVICE_PRIVATE; the distribution's have neither."""


def kernel_of(key: str) -> KernelVariant:
    """The variant recorded under *key*."""
    if key not in KERNELS:
        raise UserError(unknown("recorded kernel", key, KERNELS))
    return KERNELS[key]
