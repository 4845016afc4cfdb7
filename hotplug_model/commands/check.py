"""``hotplug-model check``: look for a counterexample and explain it."""

from __future__ import annotations

import argparse
from importlib.metadata import version

from hotplug_model.check import CheckRequest, check
from hotplug_model.commands.arguments import settle
from hotplug_model.commands.search import command_of, conduct, layouts, refuse_unwritable
from hotplug_model.errors import UserError
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.registry import unknown
from hotplug_model.report.progress import CheckProgress
from hotplug_model.settings import NO_FLOOR, profiles


def run(args: argparse.Namespace) -> int:
    """Check, write the counterexample, then draw the report."""
    request = request_of(args)
    refuse_unwritable(args.json)
    return conduct(
        args,
        lambda on_step, on_found: check(request, on_step, on_found),
        CheckProgress(request.profile.examples, request.seconds),
        {
            "seed": args.seed,
            "command": command_of(args, "profile"),
            "hypothesis": version("hypothesis"),
        },
    )


def request_of(args: argparse.Namespace) -> CheckRequest:
    """What the arguments ask for; :class:`UserError` if that cannot be."""
    known = profiles()
    if args.profile not in known:
        raise UserError(unknown("profile", args.profile, known))
    profile = known[args.profile]
    variant = settle(args)
    geometry = GEOMETRIES[args.geometry]
    # Not every geometry can reach every state: a memmap is deduplicated on x86 only.
    partial = args.change or args.release or args.boot or args.seconds or args.geometry != "tiny"
    return CheckRequest(
        variant=variant,
        geometry=args.geometry,
        layouts=layouts(args.boot, geometry),
        profile=profile,
        seconds=args.seconds,
        seed=args.seed,
        strict=args.strict,
        faults=args.faults,
        races=args.races,
        floor=NO_FLOOR if partial else profile.floor,
    )
