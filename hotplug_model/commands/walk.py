"""``hotplug-model walk``: a long seeded random walk, and what it ran into."""

from __future__ import annotations

import argparse

from hotplug_model.commands.arguments import settle
from hotplug_model.commands.search import command_of, conduct, layouts, refuse_unwritable
from hotplug_model.geometry import GEOMETRIES
from hotplug_model.report.progress import CheckProgress
from hotplug_model.walk import ENDLESS, STEPS, WalkRequest, walk


def run(args: argparse.Namespace) -> int:
    """Walk, write the counterexample, then draw the report."""
    request = request_of(args)
    refuse_unwritable(args.json)
    return conduct(
        args,
        lambda on_step, on_found: walk(request, on_step, on_found),
        CheckProgress(request.nr_examples, request.seconds),
        {"seed": args.seed, "command": command_of(args, "steps", "seconds")},
    )


def request_of(args: argparse.Namespace) -> WalkRequest:
    """What the arguments ask for; :class:`UserError` if that cannot be."""
    variant = settle(args)
    geometry = GEOMETRIES[args.geometry]
    return WalkRequest(
        variant=variant,
        geometry=args.geometry,
        layouts=layouts(args.boot, geometry),
        steps=args.steps or (ENDLESS if args.seconds else STEPS),
        seconds=args.seconds,
        seed=args.seed,
        strict=args.strict,
        faults=args.faults,
        races=args.races,
        workers=args.workers,
    )
