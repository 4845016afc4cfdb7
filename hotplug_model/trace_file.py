"""Writing traces so that none is lost: as soon as found, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from hotplug_model.trace import Trace

MAX_SLUG = 50
"""Short enough for the command that replays it to fit on a line."""


def file_name(trace: Trace) -> str:
    """A name that says which kernel breaks what; equal traces have equal names."""
    about = "-".join([str(trace.variant()), *trace.violates[:1]])
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", about).strip("-.")[:MAX_SLUG]
    same = replace(trace, found={})
    return f"{slug}-{hashlib.blake2b(same.dumps().encode(), digest_size=4).hexdigest()}.json"


def replay_options(trace: Trace) -> list[str]:
    """What ``hotplug-model replay`` needs beside the file: a file may not name code."""
    code = [word for name in trace.changes for word in ("--change", name)]
    if not any(":" in name for name in trace.changes):
        return []
    return [*code, *(["--release", trace.release] if trace.release else [])]


def write_atomically(path: Path, text: str) -> None:
    """Replace *path* in one go: a reader, or a full disk, never leaves half a file."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


@dataclass(slots=True)
class TraceFile:
    """The best counterexample so far, on disk. A better one takes the place of the last."""

    directory: Path
    path: Path | None = None
    trace: Trace | None = None
    """The last trace, whether it could be written or not."""
    problem: str = field(default="")
    """Why it could not be written; empty if it was."""

    def write(self, trace: Trace) -> Path | None:
        """Write *trace*; None, and a *problem*, if that cannot be done."""
        before, self.trace = self.path, trace
        path = self.directory / file_name(trace)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_atomically(path, trace.dumps())
        except OSError as error:
            self.problem = f"cannot write a trace to {self.directory}: {error.strerror}"
            return None
        self.path, self.problem = path, ""
        if before is not None and before != path:
            with contextlib.suppress(OSError):
                before.unlink()
        return path
