"""``hotplug-model show``: draw traces."""

from __future__ import annotations

import argparse

from hotplug_model.commands.arguments import STDIN, load_trace, named_walkers, override
from hotplug_model.report.counterexample import page
from hotplug_model.report.lines import line, show


def run(args: argparse.Namespace) -> int:
    """Draw each trace on a page of its own."""
    variant = override(args)
    named_walkers(args.walker)
    for number, path in enumerate(args.files):
        trace = load_trace(path, args.change)
        if number:
            show([line()])
        show(page(trace, None if path == STDIN else path, variant))
    return 0
