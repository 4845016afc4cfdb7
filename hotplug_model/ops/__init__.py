"""What user space, firmware or a driver can ask of the kernel."""

from __future__ import annotations

from hotplug_model.ops.op import OPS, Chooser, Op, drawn_ops, ops_on_request
from hotplug_model.registry import import_all

__all__ = ["OPS", "Chooser", "Op", "drawn_ops", "ops_on_request"]

import_all(__name__, list(__path__))
