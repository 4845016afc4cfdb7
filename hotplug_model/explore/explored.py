"""An exhaustive search from its arguments to its result, with a checkpoint if wanted."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from hotplug_model.certify import SHORTEST
from hotplug_model.errors import UserError
from hotplug_model.explore.expander import Expander, Expansion
from hotplug_model.explore.exploration import Exploration
from hotplug_model.explore.journal import Journal
from hotplug_model.explore.processes import expanding_in
from hotplug_model.explore.space import FULL, Space
from hotplug_model.explore.visited import Visited
from hotplug_model.explore.way_back import WaysBack
from hotplug_model.ops.every import UNUSUAL
from hotplug_model.trace import Trace, replay
from hotplug_model.verdict import Result
from hotplug_model.workers import STOPS, why


@dataclass(slots=True, kw_only=True)
class Explored(Result):
    """What came of an exhaustive search; its seconds are those of this process alone."""

    exploration: Exploration
    ways: WaysBack | None = None
    """The ways back from what was found, if they were asked for."""
    cut: int = 0
    """Bytes at the end of the checkpoint that were no whole entry."""


def explore(
    space: Space,
    depth: int = FULL,
    *,
    workers: int = 1,
    checkpoint: Path | None = None,
    on_step: Callable[[Exploration], None] = lambda exploration: None,
    on_found: Callable[[Trace], None] = lambda trace: None,
) -> Explored:
    """Search to *depth*, from where *checkpoint* ends if there is one.

    *on_step* is called now and then; *on_found* gets the counterexample.
    """
    started = time.monotonic()
    directory = checkpoint.absolute().parent if checkpoint else None
    with closing(Journal(checkpoint, space)) if checkpoint else nullcontext() as journal:
        explored = Explored(exploration=Exploration(space=space, visited=Visited(directory)))
        try:
            search(explored.exploration, depth, workers, journal, on_step)
        except KeyboardInterrupt:
            explored.interrupted = True
        except STOPS as error:
            explored.stopped = why(error)
        explored.cut = journal.cut if journal else 0
    if explored.exploration.found is not None:
        confirm(explored, explored.exploration.found, on_found)
    explored.seconds = time.monotonic() - started
    return explored


def search(
    exploration: Exploration,
    depth: int,
    workers: int,
    journal: Journal | None,
    on_step: Callable[[Exploration], None],
) -> None:
    """Take in what *journal* holds, then go on, and write all of it down."""
    expander = Expander(exploration.space, lambda: on_step(exploration))
    exploration.boot(expander)
    if journal is not None:
        take_in(exploration, expander, journal)

    def expanded(expansion: Expansion) -> None:
        if journal is not None:
            journal.write(expansion)
        on_step(exploration)

    with expanding_in(workers, exploration.space, lambda: on_step(exploration)) as expanding:
        exploration.run(expander, depth, expanding, expanded)


def take_in(exploration: Exploration, expander: Expander, journal: Journal) -> None:
    """What *journal* holds. :class:`UserError` if that cannot have come of this search."""
    try:
        for expansion in journal.read():
            if exploration.found is not None or not exploration.frontier:
                raise UserError(f"checkpoint {journal.path}: holds more than there was to try")
            exploration.merge(expander, expansion)
    except IndexError:
        raise UserError(f"checkpoint {journal.path}: names operations that are none") from None


def minimal_of(trace: Trace, space: Space) -> str:
    """What is known of a counterexample that was found in *space*."""
    everything = not space.ops and space.unusual >= UNUSUAL and space.faults
    if everything or len(trace.events) <= 1:
        return SHORTEST
    return "shortest of what was tried"


def confirm(explored: Explored, found: Trace, on_found: Callable[[Trace], None]) -> None:
    """See that the counterexample repeats; it is kept whether or not."""
    on_found(found)
    index, violations = replay(found)
    if not found.says(index, violations):
        explored.flaky = "the counterexample did not repeat when it was replayed"
        return
    title = f"{found.variant()}: {violations[0].message}"
    explored.trace, explored.violations = replace(found, title=title), violations
    on_found(explored.trace)
