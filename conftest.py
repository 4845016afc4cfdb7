"""Hypothesis profiles, chosen by HOTPLUG_PROFILE; ``--hypothesis-profile`` still wins.

How hard they look says ``[tool.hotplug-model]`` in ``pyproject.toml``. Hypothesis would
load its own ``ci`` profile wherever the variable CI is set: the profiles here are loaded
explicitly, so that a run means the same everywhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from hotplug_model.errors import UserError
from hotplug_model.registry import unknown
from hotplug_model.settings import profiles

COMMON = settings(
    settings.get_profile("default"),
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
try:
    PROFILES = profiles(Path(__file__).parent)
except UserError as error:
    raise pytest.UsageError(str(error)) from None
for name, profile in PROFILES.items():
    # Derandomised: whether a merge request passes depends on the merge request alone.
    derandomised = {"derandomize": True, "database": None} if name == "ci" else {}
    settings.register_profile(
        name,
        COMMON,
        max_examples=profile.test_examples,
        stateful_step_count=profile.test_steps,
        **derandomised,
    )

wanted = os.environ.get("HOTPLUG_PROFILE", "dev")
if wanted not in PROFILES:
    raise pytest.UsageError(f"HOTPLUG_PROFILE: {unknown('profile', wanted, PROFILES)}")
settings.load_profile(wanted)


if "PYTEST_XDIST_WORKER" in os.environ:
    # Coverage measures the workers. What a test starts runs what other tests run here.
    os.environ.pop("COVERAGE_PROCESS_START", None)


@pytest.fixture(autouse=True)
def measured(request: pytest.FixtureRequest) -> Iterator[None]:
    """Coverage looks away from tests marked ``unmeasured``."""
    coverage = sys.modules.get("coverage")
    running = coverage.Coverage.current() if coverage is not None else None
    if running is None or request.node.get_closest_marker("unmeasured") is None:
        yield
        return
    running.stop()
    yield
    running.start()
