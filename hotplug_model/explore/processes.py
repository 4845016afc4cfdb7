"""Several processes that expand states: what comes back is in the order of the states."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice

from hotplug_model.explore.expander import Expander, Expansion
from hotplug_model.explore.exploration import Expanding
from hotplug_model.explore.space import Path, Space
from hotplug_model.workers import blocked_interrupts, pool_of, wait_for

CHUNK = 2
"""States that a worker expands at a time: neighbours, which mostly have the same parent."""
AHEAD = 3
"""Chunks that wait or are at work for each worker."""


@contextlib.contextmanager
def expanding_in(
    workers: int, space: Space, meanwhile: Callable[[], None]
) -> Iterator[Expanding | None]:
    """Who expands states: so many processes, or nobody but this one.

    *meanwhile* is called every now and then while they work.
    """
    if workers == 1:
        yield None
        return
    pool = pool_of(workers, start_expanding, space)
    try:
        yield lambda paths: expand_ahead(pool, paths, workers * AHEAD, meanwhile)
    finally:
        pool.end()


def expand_ahead(
    pool: ProcessPoolExecutor, paths: Iterable[Path], ahead: int, meanwhile: Callable[[], None]
) -> Iterator[Expansion]:
    """Expand every state, at most *ahead* chunks before the one that is asked for."""
    rest = iter(paths)
    chunks = iter(lambda: tuple(islice(rest, CHUNK)), ())
    pending: deque[Future[list[Expansion]]] = deque()
    submit(pool, islice(chunks, ahead), pending)
    while pending:
        yield from wait_for(pending.popleft(), meanwhile)
        submit(pool, islice(chunks, 1), pending)


def submit(
    pool: ProcessPoolExecutor,
    chunks: Iterable[tuple[Path, ...]],
    pending: deque[Future[list[Expansion]]],
) -> None:
    """Ask for *chunks*, which may start a process."""
    with blocked_interrupts():
        pending += [pool.submit(expand_chunk, chunk) for chunk in chunks]


WORKER: list[Expander] = []
"""The expander of this process, if it is a worker."""


def start_expanding(space: Space) -> None:
    """What a worker does first."""
    WORKER[:] = [Expander(space)]


def expand_chunk(paths: tuple[Path, ...]) -> list[Expansion]:
    """Expand states in a worker."""
    (expander,) = WORKER
    return [expander.expand(path) for path in paths]
