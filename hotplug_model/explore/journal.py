"""A search on disk: what came of each state, one entry a state, in order.

```
header     one line of JSON: which search, of which model
entries    [length checksum] tried, violating operation, new states, [broken, known]
```

An entry is written in one go when its state is done. What a kill leaves unfinished is cut
off, and tried again: that, and what had not been written yet, is all that is lost.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import json
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import hotplug_model
from hotplug_model.errors import UserError
from hotplug_model.explore.expander import Expansion
from hotplug_model.explore.space import Space
from hotplug_model.trace_file import write_atomically

FORMAT = 1
MAX_HEADER = 1 << 20
FRAME = struct.Struct("<II")
"""Length of what follows, and its CRC-32."""
HEAD = struct.Struct("<IiI")
"""Operations tried, the violating one or -1, new states."""
STATE = struct.Struct("<I16s")
"""The operation that leads there, and the fingerprint."""


class Journal:
    """A search on disk. Whoever has it open has it alone."""

    def __init__(self, path: Path, space: Space) -> None:
        """Begin or open one; :class:`UserError` if *path* cannot be one of *space*."""
        self.path = path
        self.cut = 0
        """Bytes behind the last whole entry, once all were read."""
        header = header_of(space)
        try:
            if path.exists() and not path.is_file():
                raise UserError(f"checkpoint {path}: is no file")
            if not path.exists():
                write_atomically(path, header + "\n")
            self._file = os.open(path, os.O_RDWR)
        except OSError as error:
            raise UserError(f"checkpoint {path}: {error.strerror}") from None
        try:
            self._lock()
            self._end = self._entries_of(header)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def write(self, expansion: Expansion) -> None:
        """Add what came of the next state. :class:`OSError` if there is no room for it."""
        payload = encoded(expansion)
        entry = FRAME.pack(len(payload), zlib.crc32(payload)) + payload
        while entry:
            entry = entry[os.write(self._file, entry) :]

    def read(self) -> Iterator[Expansion]:
        """All whole entries. Call it first, and once: then the rest is cut off."""
        with open(self.path, "rb") as file:
            file.seek(self._end)
            while (payload := next_payload(file.read(FRAME.size), file.read)) is not None:
                self._end += FRAME.size + len(payload)
                try:
                    expansion = decoded(payload)
                except (ValueError, TypeError, struct.error):
                    raise UserError(f"checkpoint {self.path}: has a damaged entry") from None
                yield expansion
        self.cut = os.fstat(self._file).st_size - self._end
        os.ftruncate(self._file, self._end)
        os.lseek(self._file, self._end, os.SEEK_SET)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"checkpoint {self.path}: another process uses it") from None

    def _entries_of(self, header: str) -> int:
        """Where the entries begin, if this is the journal that *header* asks for."""
        with open(self.path, "rb") as file:
            found = file.readline(MAX_HEADER)
        if found != header.encode() + b"\n":
            raise UserError(f"checkpoint {self.path}: {difference(found, json.loads(header))}")
        return len(found)


def header_of(space: Space) -> str:
    """Which search, in a line."""
    said = {
        "hotplug_model_checkpoint": FORMAT,
        "machines": [json.loads(machine.dumps()) for machine in space.machines],
        "ops": sorted(space.ops),
        "unusual": space.unusual,
        "faults": space.faults,
        "symmetry": space.symmetry,
        "violates": space.violates,
        "model": digest_of_model(space.machines[0].changes),
    }
    return json.dumps(said, sort_keys=True)


def difference(found: bytes, wanted: dict[str, object]) -> str:
    """Why a header is not the one that is wanted."""
    try:
        said = json.loads(found)
    except ValueError:
        said = None
    if not isinstance(said, dict) or "hotplug_model_checkpoint" not in said:
        return "is no checkpoint; name another file"
    if said.keys() != wanted.keys():
        return "is of another version; name another file"
    other = [name for name in sorted(wanted) if json.dumps(said[name]) != json.dumps(wanted[name])]
    if other == ["model"]:
        return "was made by another version of the model; name another file"
    return f"is of another search ({', '.join(other)}); name another file"


def digest_of_model(changes: tuple[str, ...]) -> str:
    """Of all source that a result may depend on; of the user's, the modules of *changes*."""
    files = sorted(Path(hotplug_model.__file__).parent.rglob("*.py"))
    for change in changes:
        if ":" in change:
            module = importlib.import_module(change.partition(":")[0])
            files += [Path(module.__file__)] if module.__file__ else []
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        digest.update(hashlib.blake2b(file.read_bytes(), digest_size=16).digest())
    return digest.hexdigest()


def encoded(expansion: Expansion) -> bytes:
    """An entry without its frame."""
    violating = -1 if expansion.violating is None else expansion.violating
    head = HEAD.pack(expansion.tried, violating, len(expansion.new))
    states = b"".join(STATE.pack(op, state) for op, state in expansion.new)
    return head + states + json.dumps([expansion.broken, expansion.known]).encode()


def decoded(payload: bytes) -> Expansion:
    """The expansion that :func:`encoded` made *payload* of."""
    tried, violating, nr_new = HEAD.unpack_from(payload)
    end = HEAD.size + nr_new * STATE.size
    broken, known = json.loads(payload[end:])
    return Expansion(
        tried=tried,
        new=tuple(STATE.iter_unpack(payload[HEAD.size : end])),
        violating=None if violating < 0 else violating,
        broken=tuple(broken),
        known=Counter(known),
    )


def next_payload(frame: bytes, read: Callable[[int], bytes]) -> bytes | None:
    """What is in *frame*; None if it, or what it announces, is not there as it was written."""
    if len(frame) < FRAME.size:
        return None
    length, checksum = FRAME.unpack(frame)
    payload = read(length)
    whole = len(payload) == length >= HEAD.size and zlib.crc32(payload) == checksum
    return payload if whole else None
