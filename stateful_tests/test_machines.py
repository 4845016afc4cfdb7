"""Mainline holds, on every geometry, whatever Hypothesis asks it to do."""

from __future__ import annotations

import pytest

from hotplug_model.machine import case_for

pytestmark = pytest.mark.unmeasured

TestMainlineOnTiny = case_for(geometry="tiny")
TestMainlineOnSmall = case_for(geometry="small")
TestMainlineOnX86 = case_for(geometry="x86_64")
