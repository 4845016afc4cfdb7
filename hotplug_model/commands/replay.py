"""``hotplug-model replay``: is the verdict as recorded?"""

from __future__ import annotations

import argparse

from hotplug_model.changes import KernelVariant
from hotplug_model.cli import complain
from hotplug_model.commands.arguments import load_trace, named_walkers, override
from hotplug_model.errors import UserError
from hotplug_model.report.lines import printable
from hotplug_model.trace import Trace, broken, replay


def run(args: argparse.Namespace) -> int:
    """A line a file; 0 if all are as recorded, 1 if one differs, 2 if one is no trace."""
    variant = override(args)
    named_walkers(args.walker)
    return max(replay_file(path, variant, args.change) for path in args.files)


def replay_file(path: str, variant: KernelVariant | None, trusted: list[str]) -> int:
    """Replay one file and say what came of it."""
    try:
        trace = load_trace(path, trusted)
    except UserError as error:
        complain(str(error))
        return 2
    recorded, now = recorded_verdict(trace), replayed_verdict(trace, variant)
    if now == recorded:
        print(printable(f"ok {path}: {now}"))
        return 0
    print(printable(f"DIFFERS {path}: recorded {recorded}, now {now}"))
    return 1


def recorded_verdict(trace: Trace) -> str:
    """What the trace says about itself: the last step breaks something, or nothing does."""
    if not trace.violates:
        return "holds"
    return verdict(trace.violates, len(trace.events) - 1)


def replayed_verdict(trace: Trace, variant: KernelVariant | None = None) -> str:
    """What it does now."""
    index, violations = replay(trace, variant)
    return "holds" if index is None else verdict(broken(violations), index)


def verdict(names: tuple[str, ...], index: int) -> str:
    """Which invariants break, and where."""
    where = "at boot" if index < 0 else f"at step {index + 1}"
    return f"breaks {', '.join(names)} {where}"
