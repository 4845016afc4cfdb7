"""How far a check has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hotplug_model.coverage import Coverage
from hotplug_model.explore import Exploration
from hotplug_model.explore.way_back import WaysBack
from hotplug_model.trace import Trace
from hotplug_model.words import counted

LINE_SECONDS = 5.0
BAR_SECONDS = 0.2


class SearchProgress:
    """A context manager; draws on stderr, so that stdout holds the result alone."""

    def __init__(self, doing: str, total: float) -> None:
        self._doing = doing
        self._started = self._last = time.monotonic()
        self._bar: Progress | None = None
        console = Console(stderr=True, highlight=False)
        if console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            # Drawn by hand: a thread of its own would take time from the search.
            self._bar = Progress(*columns, console=console, transient=True, auto_refresh=False)
            self._task = self._bar.add_task(doing, total=total)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def seconds(self) -> float:
        """Since the search began."""
        return time.monotonic() - self._started

    def due(self) -> bool:
        """Whether it is time to draw again; then it is not for a while."""
        now = time.monotonic()
        if now - self._last < (LINE_SECONDS if self._bar is None else BAR_SECONDS):
            return False
        self._last = now
        return True

    def draw(self, text: str, done: float, total: float) -> None:
        """Say how far it has come."""
        text = f"{self._doing}: {text}"
        if self._bar is None:
            print(f"{text}, {self.seconds:.0f} s", file=sys.stderr, flush=True)
            return
        self._bar.update(self._task, description=text, completed=min(done, total), total=total)
        self._bar.refresh()


class CheckProgress(SearchProgress):
    """Of a check or a walk."""

    def __init__(self, nr_examples: int, seconds: float | None) -> None:
        self._total = seconds or float(nr_examples)
        self._timed = seconds is not None
        super().__init__("checking", self._total)

    def step(self, coverage: Coverage) -> None:
        """An operation was carried out."""
        if self.due():
            done = self.seconds if self._timed else coverage.examples
            text = f"{counted(coverage.examples, 'example')}, {counted(coverage.steps, 'step')}"
            self.draw(text, done, self._total)

    def found(self, trace: Trace) -> None:
        """A counterexample is there; from now on it gets shorter."""
        self._doing = "minimising"
        nr = counted(len(trace.events), "step")
        self.draw(f"a counterexample of {nr}", self._total, self._total)


class ExploreProgress(SearchProgress):
    """Of an exhaustive search."""

    def __init__(self) -> None:
        super().__init__("exploring", 1.0)
        self._first: int | None = None

    def step(self, exploration: Exploration) -> None:
        """Time has passed."""
        if self._first is None:
            # What a checkpoint brought along took no time.
            self._first = exploration.transitions
        if self.due():
            begin, end = exploration.depths[-2:]
            rate = (exploration.transitions - self._first) / self.seconds
            states = counted(len(exploration.visited), "state")
            self.draw(
                f"{states}, {exploration.frontier} in the frontier, "
                f"depth {exploration.depth + 1}, {rate:.{0 if rate >= 10 else 1}f} transitions/s",
                exploration.expanded - begin, end - begin,
            )  # fmt: skip

    def back(self, ways: WaysBack, of: int) -> None:
        """The way back from one more state was looked for."""
        if self.due():
            self.draw(f"way back from {ways.nr_states} of {of} states", ways.nr_states, of)
