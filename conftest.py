"""Hypothesis profiles, chosen by HOTPLUG_PROFILE; ``--hypothesis-profile`` still wins.

Hypothesis would load its own ``ci`` profile wherever the variable CI is set: the profiles
here are loaded explicitly, so that a run means the same everywhere.
"""

from __future__ import annotations

import difflib
import os

import pytest
from hypothesis import HealthCheck, Phase, settings

PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
"""All but explaining: it costs several times the shrinking and says what a trace says."""

COMMON = settings(
    settings.get_profile("default"),
    deadline=None,
    phases=PHASES,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("dev", COMMON, max_examples=40, stateful_step_count=25)
settings.register_profile(
    # Derandomised: whether a merge request passes depends on the merge request alone.
    "ci",
    COMMON,
    max_examples=150,
    stateful_step_count=40,
    derandomize=True,
    database=None,
)
settings.register_profile("nightly", COMMON, max_examples=5000, stateful_step_count=60)

PROFILES = ("dev", "ci", "nightly")
profile = os.environ.get("HOTPLUG_PROFILE", "dev")
if profile not in PROFILES:
    near = difflib.get_close_matches(profile, PROFILES) or PROFILES
    raise pytest.UsageError(f"HOTPLUG_PROFILE={profile!r}: did you mean {', '.join(near)}?")
settings.load_profile(profile)
