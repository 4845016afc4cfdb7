"""Processes that work for the first one: they ignore Ctrl-C and do not outlive it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.1

STOPS = (OSError, BrokenProcessPool)
"""What ends a search though nobody asked for it."""


def why(error: OSError | BrokenProcessPool) -> str:
    """What one of :data:`STOPS` means, in a few words."""
    if isinstance(error, BrokenProcessPool):
        return "a worker process was killed, perhaps for want of memory"
    return error.strerror or str(error)


def nothing() -> None:
    """What a worker does first that needs nothing."""


class Pool(ProcessPoolExecutor):
    """Processes that are ended at once, whatever they are at."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._others = multiprocessing.active_children()
        super().__init__(*args, **options)

    def end(self) -> None:
        """End them. Nothing interrupts that: who presses Ctrl-C twice would wait for ever."""
        with blocked_interrupts():
            for worker in multiprocessing.active_children():
                if worker not in self._others:
                    worker.kill()
            self.shutdown(cancel_futures=True)


def pool_of(workers: int, start: Callable[..., None] = nothing, *args: object) -> Pool:
    """Processes that call *start* with *args* before anything else."""
    return Pool(
        workers,
        # Forking would copy threads' locks, and signal handlers.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=partial(start_worker, start, *args),
    )


def start_worker(start: Callable[..., None], *args: object) -> None:
    """Make this process a worker, for as long as the first one lives."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    start(*args)


def end_with_parent() -> None:
    """A worker whose first process was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def wait_for(future: Future[T], meanwhile: Callable[[], None]) -> T:
    """The result of *future*; calls *meanwhile* now and then."""
    while True:
        meanwhile()
        with contextlib.suppress(TimeoutError):
            return future.result(POLL_SECONDS)


@contextlib.contextmanager
def blocked_interrupts() -> Iterator[None]:
    """Processes that start in here never see Ctrl-C: it is the first one's business.

    They inherit the mask. The first one gets at the end what was pressed meanwhile.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
