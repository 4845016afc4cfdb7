"""Every state so far: fingerprint, the state before it, the operation in between.

```
records    [fingerprint fingerprint parent+1 op]   one a state, in the order of finding
index      [ 3 0 0 1 . 2 ]                         number+1 of a state, 0 where there is none
```

Both lie in files without a name, mapped into memory: what has not been looked at for long
the kernel can write to disk and take away. They are gone with the process.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from pathlib import Path as FilePath

from hotplug_model.explore.space import Path

WORD = 8
RECORD = 4
"""Words of a record."""
FEWEST = 1 << 10
"""States for which there is room at first; doubled whenever it is used up."""


def words(directory: FilePath | None, nr: int) -> memoryview[int]:
    """So many words of 64 bits, all 0, in a file. :class:`OSError` if the disk is full."""
    with tempfile.TemporaryFile(dir=directory) as file:
        # A hole in the file that cannot be filled later would be a SIGBUS.
        os.posix_fallocate(file.fileno(), 0, nr * WORD)
        return memoryview(mmap.mmap(file.fileno(), nr * WORD)).cast("Q")


class Visited:
    """States by fingerprint and by number, in the order in which they were added."""

    def __init__(self, directory: FilePath | None = None) -> None:
        self._nr = 0
        self._room = FEWEST
        self._directory = directory
        self._records = words(directory, RECORD * self._room)
        self._index = words(directory, 2 * self._room)

    def __len__(self) -> int:
        return self._nr

    def add(self, parent: int, op: int, state: bytes) -> bool:
        """Whether *state*, of 16 bytes, is new. The parent of a machine is -1, its *op* its
        number."""
        low, high = struct.unpack("<QQ", state)
        slot = self._slot(low, high)
        if self._index[slot]:
            return False
        at = RECORD * self._nr
        cells = self._records
        cells[at], cells[at + 1], cells[at + 2], cells[at + 3] = low, high, parent + 1, op
        self._nr += 1
        self._index[slot] = self._nr
        if self._nr == self._room:
            self._grow()
        return True

    def path(self, number: int) -> Path:
        """How to get to a state."""
        steps: list[int] = []
        cells = self._records
        while number >= 0:
            steps.append(cells[RECORD * number + 3])
            number = cells[RECORD * number + 2] - 1
        return tuple(reversed(steps))

    def _slot(self, low: int, high: int) -> int:
        """Where in the index a state is, or is to be."""
        index, records = self._index, self._records
        mask = 2 * self._room - 1
        slot = low & mask
        while number := index[slot]:
            at = RECORD * (number - 1)
            if records[at] == low and records[at + 1] == high:
                break
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        """Twice the room; where a state is in the index depends on the room."""
        records, self._room = self._records, 2 * self._room
        self._records = words(self._directory, RECORD * self._room)
        self._records[: len(records)] = records
        self._index = words(self._directory, 2 * self._room)
        for number in range(self._nr):
            at = RECORD * number
            slot = self._slot(self._records[at], self._records[at + 1])
            self._index[slot] = number + 1
