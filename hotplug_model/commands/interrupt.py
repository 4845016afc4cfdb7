"""Ctrl-C while Hypothesis searches."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class PatientInterrupt:
    """Context in which Ctrl-C waits for the end of an operation; a second one does not.

    In the middle of Hypothesis' bookkeeping an interrupt is swallowed (in a callback of the
    garbage collector) or looks like a test that does not repeat.
    """

    def __init__(self) -> None:
        self.asked = False
        """Whether somebody has pressed Ctrl-C."""
        self._installed = False

    def __enter__(self) -> PatientInterrupt:
        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        self._installed = usual and threading.current_thread() is threading.main_thread()
        if self._installed:
            signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def poll(self) -> None:
        """Raise the interrupt that waits, if any."""
        if self.asked:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.poll()
        self.asked = True
