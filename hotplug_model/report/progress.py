"""How far a check has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hotplug_model.coverage import Coverage
from hotplug_model.trace import Trace

LINE_SECONDS = 5.0
BAR_SECONDS = 0.2


class CheckProgress:
    """A context manager; draws on stderr, so that stdout holds the result alone."""

    def __init__(self, nr_examples: int, seconds: float | None) -> None:
        self._total = seconds or float(nr_examples)
        self._timed = seconds is not None
        self._started = self._last = time.monotonic()
        self._doing = "checking"
        self._bar: Progress | None = None
        console = Console(stderr=True, highlight=False)
        if console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            # Drawn by hand: a thread of its own would take time from the search.
            self._bar = Progress(*columns, console=console, transient=True, auto_refresh=False)
            self._task = self._bar.add_task(self._doing, total=self._total)

    def __enter__(self) -> CheckProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, coverage: Coverage) -> None:
        """An operation was carried out."""
        now = time.monotonic()
        if now - self._last < (LINE_SECONDS if self._bar is None else BAR_SECONDS):
            return
        self._last = now
        text = f"{self._doing}: {coverage.examples} examples, {coverage.steps} steps"
        if self._bar is None:
            print(f"{text}, {now - self._started:.0f} s", file=sys.stderr, flush=True)
            return
        done = now - self._started if self._timed else coverage.examples
        self._bar.update(self._task, description=text, completed=min(done, self._total))
        self._bar.refresh()

    def found(self, trace: Trace) -> None:
        """A counterexample is there; from now on it gets shorter."""
        self._doing = f"shrinking a counterexample of {len(trace.events)} steps"
