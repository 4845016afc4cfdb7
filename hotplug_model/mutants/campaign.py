"""Trying many mutants: which ones, in which processes, and what is known already."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path

from hotplug_model.errors import UserError
from hotplug_model.explore.journal import digest_of_model
from hotplug_model.mutants.source import Mutant, mutants
from hotplug_model.mutants.trial import Trials, Verdict
from hotplug_model.workers import blocked_interrupts, pool_of

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """Which mutants to try, and how hard; the verdicts depend on nothing else."""

    seed: int = 0
    steps: int = 1000
    sample: int | None = None
    """How many, chosen by the seed; None for all."""

    def chosen(self) -> list[Mutant]:
        """The mutants, by file and line. What a sample holds depends on what they say, so that
        it stays the same but for what is written anew."""
        alike: Counter[tuple[str, str, str]] = Counter()
        ranks: list[tuple[bytes, int]] = []
        found = mutants()
        for index, mutant in enumerate(found):
            what = mutant.file, mutant.function, mutant.said
            named = json.dumps([self.seed, *what, alike[what]])
            ranks.append((sha256(named.encode()).digest(), index))
            alike[what] += 1
        drawn = sorted(index for _, index in sorted(ranks)[: self.sample])
        return [found[index] for index in drawn]

    def header(self) -> dict[str, object]:
        """What a journal of it begins with. A larger sample of the same seed goes on."""
        model = digest_of_model(())
        return {"mutants": FORMAT, "seed": self.seed, "steps": self.steps, "model": model}


class Journal:
    """Verdicts on disk, one line of JSON each behind a header; without a path nowhere."""

    def __init__(self, path: Path | None, campaign: Campaign) -> None:
        """Begin or go on; :class:`UserError` if *path* holds anything else."""
        self.path = path
        self.known: dict[str, Verdict] = {}
        if path is None:
            return
        header = json.dumps(campaign.header())
        if path.exists() and not path.is_file():
            raise UserError(f"checkpoint {path}: is no regular file")
        try:
            if not path.exists():
                path.write_text(header + "\n", encoding="utf-8")
            first, *rest = path.read_text(encoding="utf-8").splitlines(keepends=True)
            if first.rstrip("\n") != header:
                raise UserError(f"checkpoint {path}: {difference(first)}; name another file")
            # What a kill left unfinished has no end of line, and is tried again.
            whole = [each for each in rest if each.endswith("\n")]
            self.known = {verdict.mutant: verdict for verdict in map(verdict_of, whole)}
            path.write_text("".join([first, *whole]), encoding="utf-8")
        except OSError as error:
            raise UserError(f"checkpoint {path}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError):
            raise UserError(f"checkpoint {path}: is damaged; name another file") from None

    def write(self, verdict: Verdict) -> None:
        """Keep a verdict."""
        self.known[verdict.mutant] = verdict
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(verdict)) + "\n")


def difference(header: str) -> str:
    """Why a first line is not the one that is wanted."""
    if '"mutants"' not in header:
        return "is no checkpoint of mutants"
    return "is of another seed, of other steps or of another version of the model"


def verdict_of(line: str) -> Verdict:
    """What a line of a journal says."""
    said = json.loads(line)
    return Verdict(**{**said, "by": tuple(said["by"])})


def verdicts(
    campaign: Campaign, journal: Journal, workers: int
) -> Iterator[tuple[Mutant, Verdict]]:
    """Every mutant with its verdict, in order, as soon as it is known."""
    wanted = campaign.chosen()
    unknown = [mutant for mutant in wanted if mutant.name not in journal.known]
    tried = trying(campaign, unknown, workers)
    try:
        for mutant in wanted:
            if mutant.name not in journal.known:
                journal.write(next(tried))
            yield mutant, journal.known[mutant.name]
    finally:
        tried.close()


def trying(
    campaign: Campaign, wanted: list[Mutant], workers: int
) -> Generator[Verdict, None, None]:
    """Try mutants in processes of their own: what one of them breaks ends with it."""
    if not wanted:
        return
    pool = pool_of(min(workers, len(wanted)), start_trying, campaign)
    pending: deque[Future[Verdict]] = deque()
    rest = iter(wanted)
    try:
        with blocked_interrupts():
            pending += [pool.submit(judge, mutant) for mutant in islice(rest, 2 * workers)]
        while pending:
            yield pending.popleft().result()
            pending += [pool.submit(judge, mutant) for mutant in islice(rest, 1)]
    finally:
        pool.end()


TRIALS: list[Trials] = []
"""The trials of this process, if it is a worker."""


def start_trying(campaign: Campaign) -> None:
    """What a worker does first."""
    trials = Trials(seed=campaign.seed, steps=campaign.steps)
    trials.prepare()
    TRIALS[:] = [trials]


def judge(mutant: Mutant) -> Verdict:
    """Try *mutant* in a worker."""
    (trials,) = TRIALS
    return trials.judge(mutant)
