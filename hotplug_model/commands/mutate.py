"""``hotplug-model mutate``: which small mistakes in the model do invariants notice?"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hotplug_model.mutants.campaign import Campaign, Journal, verdicts
from hotplug_model.mutants.harmless import why_harmless
from hotplug_model.mutants.source import Mutant
from hotplug_model.mutants.trial import Verdict

MAX_TEXT = 160


def run(args: argparse.Namespace) -> int:
    """Try the mutants, and print each that was reached and not killed; 1 if one survived
    that nothing excuses."""
    campaign = Campaign(seed=args.seed, steps=args.steps, sample=args.sample)
    journal = Journal(Path(args.checkpoint) if args.checkpoint else None, campaign)
    done = []
    for mutant, verdict in verdicts(campaign, journal, args.workers or os.cpu_count() or 1):
        done.append((mutant, verdict))
        if not args.json and verdict.verdict == "survived":
            print(survivor(mutant, verdict), flush=True)
    print(json.dumps(as_json(done), indent=2) if args.json else summary(done))
    survived = [mutant for mutant, verdict in done if verdict.verdict == "survived"]
    return 0 if all(map(why_harmless, survived)) else 1


def survivor(mutant: Mutant, verdict: Verdict) -> str:
    """One line about a mutant that nothing noticed, and one if that is no wonder."""
    how = "behaves otherwise" if verdict.differs else "behaves alike"
    text, why = str(mutant), why_harmless(mutant)
    shown = text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
    return f"survived, {how}: {shown}" + (f"\n  harmless: {why}" if why else "")


def totals(done: list[tuple[Mutant, Verdict]]) -> dict[str, int]:
    """How many of each verdict; of survivors also how many did anything else, and how many of
    those are harmless."""
    count = Counter(verdict.verdict for _, verdict in done)
    names = ("killed", "survived", "crashed", "not reached")
    differing = [mutant for mutant, verdict in done if verdict.differs]
    return {
        **{name: count[name] for name in names},
        "survived and differ": len(differing),
        "harmless of these": sum(bool(why_harmless(mutant)) for mutant in differing),
    }


def summary(done: list[tuple[Mutant, Verdict]]) -> str:
    """All in one line."""
    count = totals(done)
    differing, harmless = count.pop("survived and differ"), count.pop("harmless of these")
    said = ", ".join(f"{nr} {name}" for name, nr in count.items())
    others = f"survivors that differ from the model: {differing}, harmless of these: {harmless}"
    return f"{len(done)} mutants: {said}; {others}"


def as_json(done: list[tuple[Mutant, Verdict]]) -> dict[str, Any]:
    """Totals, how many each invariant killed alone and beside others, and every mutant."""
    killed = [verdict.by for _, verdict in done if verdict.verdict == "killed"]
    return {
        "totals": totals(done),
        "kills": dict(sorted(Counter(name for by in killed for name in by).items())),
        "sole_kills": dict(sorted(Counter(by[0] for by in killed if len(by) == 1).items())),
        "mutants": [{**asdict(mutant), **asdict(verdict)} for mutant, verdict in done],
    }
