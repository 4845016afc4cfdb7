"""``hotplug-model conform``: recorded real kernels against the model."""

from __future__ import annotations

import argparse

from hotplug_model.recorded import conform_main


def run(args: argparse.Namespace) -> int:
    """Replay recordings; see :func:`hotplug_model.recorded.conform_main`."""
    return conform_main(args.files, args.json)
